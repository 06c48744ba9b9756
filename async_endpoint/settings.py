"""What the operator decides: the Actor input, validated and frozen.

Each field carries its title, description, bounds and section; the Actor's input schema, the README's table
and the error messages are made from them (see `docs.py`). What the machine decides is in `environment.py`.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from .errors import SettingsError
from .fields import (
    LONGEST_MS,
    MEBIBYTE,
    Durability,
    HostPattern,
    PresetName,
    Receiver,
    RetryDelay,
    Section,
    setting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

logger = logging.getLogger(__name__)


class Settings(BaseModel):
    """The settings, named in snake case here and in camel case in the Actor input."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )

    access_token: SecretStr | None = setting(
        None,
        Section.ACCESS,
        "Access token",
        "The token that clients send as `Authorization: Bearer`, `X-Api-Key` or `?token=`. Without one, "
        "everybody who reaches the endpoint can use it.",
        secret=True,
        allowed="a text without control characters",
    )

    max_concurrent_tasks: int = setting(
        5,
        Section.JOBS,
        "Concurrent jobs",
        "How many jobs run at the same time; further ones wait in the queue.",
        unit="jobs",
        ge=1,
        le=50,
    )
    max_queued_tasks: int = setting(
        10_000,
        Section.JOBS,
        "Queue length",
        "How many jobs may wait to be started. When the queue is full, new ones are refused with status 429.",
        unit="jobs",
        ge=1,
        le=10_000_000,
    )
    job_timeout_ms: int | None = setting(
        None,
        Section.JOBS,
        "Job timeout",
        "Ends an attempt that runs longer, unless the job sets a timeout of its own. No limit when absent.",
        unit="ms",
        ge=1,
        le=LONGEST_MS,
    )
    max_sleep_ms: int = setting(
        3_600_000,
        Section.JOBS,
        "Longest sleep",
        "Sleep tasks that ask for more sleep this long.",
        unit="ms",
        ge=0,
        le=LONGEST_MS,
    )
    max_body_bytes: int = setting(
        MEBIBYTE,
        Section.JOBS,
        "Largest request body",
        "Requests with a larger body are refused with status 413.",
        unit="bytes",
        ge=1,
        le=4 * MEBIBYTE,
    )
    max_result_bytes: int = setting(
        MEBIBYTE,
        Section.JOBS,
        "Largest result",
        "A job whose result is larger, as JSON, fails with the code `result-too-large`.",
        unit="bytes",
        ge=1,
        le=4 * MEBIBYTE,
    )

    max_wait_timeout_ms: int = setting(
        3_600_000,
        Section.WAITING,
        "Longest wait",
        "Waits that ask for more are answered after this time.",
        unit="ms",
        ge=0,
        le=LONGEST_MS,
    )
    default_wait_timeout_ms: int = setting(
        600_000,
        Section.WAITING,
        "Default wait",
        "How long a wait lasts that does not say it. Never more than the longest wait.",
        unit="ms",
        ge=0,
        le=LONGEST_MS,
        validate_default=True,
    )

    retention_hours: int = setting(
        24,
        Section.KEEPING,
        "Retention",
        "How long an ended job can be read. Its dataset row stays.",
        unit="hours",
        ge=1,
        le=8_760,
    )
    max_retained_jobs: int = setting(
        100_000,
        Section.KEEPING,
        "Retained jobs",
        "How many ended jobs can be read; the oldest leave first. Their dataset rows stay.",
        unit="jobs",
        ge=1,
        le=10_000_000,
    )
    durability: Durability = setting(
        "full",
        Section.KEEPING,
        "Durability on the platform",
        "On the Apify platform, `full` answers once a job is also in the run's key-value store; `snapshot` "
        "answers sooner and copies within a second, so that a lost machine can lose that second.",
    )

    allow_fetch_tasks: bool = setting(
        False,
        Section.FETCH,
        "Allow fetch tasks",
        "Lets clients submit tasks that make HTTP requests from here.",
    )
    fetch_allowed_hosts: tuple[HostPattern, ...] = setting(
        (),
        Section.FETCH,
        "Allowed hosts",
        "The only hosts that fetch tasks may reach, such as `api.example.com`, or `*.example.com` for every "
        "host below it. Every public host when empty.",
        max_length=1_000,
        editor="stringList",
        allowed="a list of up to 1000 host names, without scheme or path",
    )
    allow_private_networks: bool = setting(
        False,
        Section.FETCH,
        "Allow private networks",
        "Lets fetch tasks and webhooks reach private, loopback and link-local addresses. "
        "Only where every client is trusted.",
    )

    webhooks: tuple[Receiver, ...] = setting(
        (),
        Section.WEBHOOKS,
        "Webhooks",
        "Receivers that are told about every job: objects with `url` and, if wanted, `events`, `secret` and "
        "`headers`.",
        secret=True,
        max_length=20,
        allowed="a list of up to 20 objects {url, events, secret, headers}",
    )
    webhook_retry_delays_ms: tuple[RetryDelay, ...] = setting(
        (5_000, 30_000, 120_000, 600_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000),
        Section.WEBHOOKS,
        "Webhook retry delays",
        "The gaps after failed deliveries of a webhook, in milliseconds; attempts are one more than gaps.",
        max_length=20,
        allowed=f"a list of up to 20 whole numbers from 0 to {LONGEST_MS}",
    )
    presets: Mapping[PresetName, Mapping[str, JsonValue]] = setting(
        {},
        Section.WEBHOOKS,
        "Presets",
        "Saved tasks by name. `POST /hooks/{name}` runs one; in the Apify-compatible API they are tasks.",
        secret=True,
        allowed="an object of tasks by name; a name has 1 to 63 letters, digits, '.', '_' or '-' "
        "and begins with a letter or a digit",
    )

    @field_validator("access_token")
    @classmethod
    def _blank_is_not_set(cls, token: SecretStr | None) -> SecretStr | None:
        text = token.get_secret_value().strip() if token else ""
        if not all(character.isprintable() for character in text):
            raise ValueError("has control characters, which no HTTP header can carry")
        return SecretStr(text) if text else None

    @field_validator("default_wait_timeout_ms")
    @classmethod
    def _clamp_to_longest(cls, value: int, info: ValidationInfo) -> int:
        longest: int = info.data.get("max_wait_timeout_ms", value)
        return min(value, longest)


def load_settings(actor_input: object) -> Settings:
    """The settings that an Actor input asks for; `None` and absent values mean the default.

    Unknown fields are ignored with a warning, since the platform may pass more than it was asked for.

    Raises:
        SettingsError: With one line for each bad field. No line shows a secret.
    """
    if actor_input is None:
        return Settings()
    if not isinstance(actor_input, Mapping):
        raise SettingsError(
            f"The Actor input must be a JSON object, not of type {type(actor_input).__name__}."
        )
    known = {name: value for name, value in actor_input.items() if name in PROPERTIES and value is not None}
    _warn_of_unknown(str(name) for name in actor_input if name not in PROPERTIES)
    try:
        text = json.dumps(known, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise SettingsError(
            "The Actor input is not JSON: it has a NaN, an infinity or half a character."
        ) from None
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error.errors()))) from None


PROPERTIES: Mapping[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
"""JSON schema of each setting by its name in the Actor input, with the further members `section`, `secret`
and, where they apply, `unit`, `editor` (of the input form) and `allowed` (what is right, in words)."""


def allowed(name: str) -> str:
    """What the setting takes, in words: `a whole number from 1 to 50`."""
    schema = non_null(PROPERTIES[name])
    if "allowed" in schema:
        return str(schema["allowed"])
    match schema.get("type"):
        case "integer":
            return f"a whole number from {schema['minimum']} to {schema['maximum']}"
        case "boolean":
            return "true or false"
    return " or ".join(f"'{choice}'" for choice in schema["enum"])


def non_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A property's schema with the choice "or null" taken out."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    return {**(choices[0] if choices else {}), **{k: v for k, v in schema.items() if k != "anyOf"}}


def _warn_of_unknown(names: Iterator[str]) -> None:
    for name in names:
        close = difflib.get_close_matches(name, PROPERTIES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        logger.warning("Input field %.80r is not a setting and is ignored%s", name, hint)


def _explain(errors: list[ErrorDetails]) -> Iterator[str]:
    for path, error in {_path(error): error for error in errors}.items():
        name = str(error["loc"][0])
        right = f"it must be {allowed(name)}" if path == name else f"{name} must be {allowed(name)}"
        yield f"{path} {_fault(error, PROPERTIES[name]['secret'])}; {right}."


def _fault(error: ErrorDetails, secret: bool) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "is not known"
    reason = error["msg"].removeprefix("Value error, ")
    return f"is not valid ({reason})" if secret else f"is {_shown(error['input'])}"


def _path(error: ErrorDetails) -> str:
    first, *rest = (part for part in error["loc"] if part != "[key]")
    steps = (f".{part}" if str(part).isidentifier() else f"[{_shown(part)}]" for part in rest)
    return f"{first}{''.join(steps)}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"
