"""What the machine decides: the environment variables, validated and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

SDK_PREFIXES = ("ACTOR_", "APIFY_", "CRAWLEE_")
SWITCH_TEXTS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
SWITCH = "1 or 0, true or false, yes or no, on or off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and how the process runs; `VARIABLES` says which variable sets which attribute.

    Attributes:
        port: The port to listen on; 0 takes a free one.
        container_url: The public base URL without a slash at its end, where one is known.
        storage_dir: The directory of the local storages.
        purge_on_start: Whether a local start begins with empty storages.
        handler_modules: Modules with task types of the operator's own.
        on_platform: Whether this is a run on the Apify platform.
        in_image: Whether this is the container image.
    """

    port: int = 4321
    container_url: str | None = None
    storage_dir: Path = Path("storage")
    purge_on_start: bool = True
    handler_modules: tuple[str, ...] = ()
    on_platform: bool = False
    in_image: bool = False

    def host(self, *, token_set: bool) -> str:
        """The address to listen on: every one where that is meant or safe, else loopback only."""
        return "0.0.0.0" if self.on_platform or self.in_image or token_set else "127.0.0.1"  # noqa: S104


class Variable(NamedTuple):
    """One thing that the environment sets.

    Attributes:
        names: The variables that set it, the present name before the old one; the first that is set counts.
        description: What it does.
        default: What holds when it is not set, in words.
        allowed: What it takes, in words.
        parse: Makes the value of its text, or raises ValueError.
    """

    names: tuple[str, ...]
    description: str
    default: str
    allowed: str
    parse: Callable[[str], Any]


def load_environment(environ: Mapping[str, str]) -> Environment:
    """The service's part of the environment; a blank variable counts as not set.

    Raises:
        SettingsError: With one line for each bad variable.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for attribute, variable in VARIABLES.items():
        name = next((name for name in variable.names if environ.get(name, "").strip()), None)
        if name is None:
            continue
        try:
            values[attribute] = variable.parse(environ[name].strip())
        except ValueError:
            faults.append(f"{name} is {environ[name]!r}; it must be {variable.allowed}.")
    if faults:
        raise SettingsError("\n".join(faults))
    return Environment(**values)


def drop_blank_variables(environ: MutableMapping[str, str]) -> None:
    """Remove the blank variables that the Apify SDK would read; to be called before the SDK is used.

    The platform sets some to an empty text instead of leaving them out, and the SDK's start fails on those
    (`ACTOR_WEB_SERVER_PORT`, `ACTOR_STANDBY_URL`).
    """
    blank = [name for name, value in environ.items() if name.startswith(SDK_PREFIXES) and not value.strip()]
    for name in blank:
        del environ[name]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise ValueError
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError
    return text.rstrip("/")


def _switch(text: str) -> bool:
    if text.lower() not in SWITCH_TEXTS:
        raise ValueError
    return SWITCH_TEXTS[text.lower()]


def _modules(text: str) -> tuple[str, ...]:
    modules = tuple(module.strip() for module in text.split(",") if module.strip())
    if not all(part.isidentifier() for module in modules for part in module.split(".")):
        raise ValueError
    return modules


VARIABLES: Mapping[str, Variable] = {
    "port": Variable(
        ("ACTOR_WEB_SERVER_PORT", "APIFY_CONTAINER_PORT"),
        "The port to listen on; 0 takes a free one.",
        "4321",
        "a port number from 0 to 65535",
        _port,
    ),
    "container_url": Variable(
        ("ACTOR_WEB_SERVER_URL", "APIFY_CONTAINER_URL"),
        "The public URL of the endpoint; makes the links in answers absolute. Without a token only this machine's "
        "own programs get in.",
        "links are paths",
        "an http or https URL",
        _url,
    ),
    "storage_dir": Variable(
        ("APIFY_LOCAL_STORAGE_DIR", "CRAWLEE_STORAGE_DIR"),
        "Where jobs, dataset and key-value store are kept when not on the platform.",
        "`./storage`",
        "a directory",
        Path,
    ),
    "purge_on_start": Variable(
        ("APIFY_PURGE_ON_START", "CRAWLEE_PURGE_ON_START"),
        "Whether a local start begins with empty storages.",
        "1; `make run` and the image set 0",
        SWITCH,
        _switch,
    ),
    "handler_modules": Variable(
        ("ASYNC_ENDPOINT_HANDLERS",),
        "Modules with task types of your own.",
        "none",
        "names of importable modules, separated by commas",
        _modules,
    ),
    "on_platform": Variable(
        ("APIFY_IS_AT_HOME",),
        "Set by the Apify platform.",
        "0",
        SWITCH,
        _switch,
    ),
    "in_image": Variable(
        ("ASYNC_ENDPOINT_IN_IMAGE",),
        "Set by the image: without a token, too, listen on every address of the container.",
        "0",
        SWITCH,
        _switch,
    ),
}
