"""Presets: tasks saved under a name, run by `POST /hooks/{name}` and by the Apify-compatible API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ..errors import InvalidTask, PresetNotFound, ServiceError, SettingsError
from .references import braces, resolve
from .signatures import Verify

logger = logging.getLogger(__name__)

_VERIFY: TypeAdapter[Verify] = TypeAdapter(Verify)

DEFAULT_TYPE = "echo"


class Preset(NamedTuple):
    """A saved task. `verify` tells its sender from others; without it the access token does."""

    name: str
    task: Mapping[str, Any]
    verify: Verify | None = None

    @property
    def type(self) -> str:
        """The task type."""
        return str(self.task.get("type", DEFAULT_TYPE))


class Presets(Mapping[str, Preset]):
    """The presets by name.

    Args:
        saved: Tasks by name as the settings have them, each with `verify` where signatures are to be checked.
        check: Raises InvalidTask for a task that would not be accepted.
        takes_payload: Whether a task type has a parameter `payload`.

    Raises:
        SettingsError: With one line for each fault, which names the preset and the field.
    """

    def __init__(
        self,
        saved: Mapping[str, Mapping[str, Any]],
        check: Callable[[Mapping[str, Any]], object],
        takes_payload: Callable[[str], bool],
    ) -> None:
        self._takes_payload = takes_payload
        self._presets: dict[str, Preset] = {}
        faults: list[str] = []
        for name, entry in saved.items():
            task = {member: value for member, value in entry.items() if member != "verify"}
            verify, found = _verify(entry)
            found += _faults(name, task, check)
            self._presets[name] = Preset(name, task, verify)
            faults += (f"{_place(name, path)} is not valid: {message}" for path, message in found)
        if faults:
            raise SettingsError("\n".join(faults))

    def __getitem__(self, name: str) -> Preset:
        """The preset; raises PresetNotFound, not KeyError."""
        try:
            return self._presets[name]
        except KeyError:
            raise PresetNotFound from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._presets)

    def __len__(self) -> int:
        return len(self._presets)

    def __contains__(self, name: object) -> bool:
        return name in self._presets

    def signed(self, name: str) -> bool:
        """Whether a signature takes the place of the access token."""
        return name in self._presets and self._presets[name].verify is not None

    def task_for(self, preset: Preset, request: Mapping[str, Any]) -> dict[str, Any]:
        """The task that a request asks for.

        Args:
            preset: One of these.
            request: What references take from; the payload where the preset sets none and its type takes one.
        """
        task: dict[str, Any] = resolve(dict(preset.task), request)
        if "payload" not in task and self._takes_payload(preset.type):
            task["payload"] = dict(request)
        return task


Fault = tuple[str, str]
"""The path within the preset, and what is wrong there."""


def _verify(entry: Mapping[str, Any]) -> tuple[Verify | None, list[Fault]]:
    if entry.get("verify") is None:
        return None, []
    try:
        return _VERIFY.validate_python(entry["verify"]), []
    except ValidationError as error:
        # The first part of a location is the scheme, which is no part of the path.
        return None, [
            (".".join(("verify", *map(str, fault["loc"][1:]))), fault["msg"])
            for fault in error.errors(include_url=False, include_input=False)
        ]


def _faults(name: str, task: Mapping[str, Any], check: Callable[[Mapping[str, Any]], object]) -> list[Fault]:
    references: list[str] = []
    for place, is_reference in braces(task):
        path = ".".join(map(str, place))
        if is_reference:
            references.append(path)
        else:
            logger.warning("%s has braces but is no reference; it stays as it is", _place(name, path))
    if "type" in references:
        return [("type", "a task type cannot be a reference")]
    try:
        check(task)
    except InvalidTask as invalid:
        errors = invalid.errors or [{"path": "", "message": invalid.detail}]
        return [
            (error["path"], error["message"]) for error in errors if not _within(error["path"], references)
        ]
    except ServiceError as refusal:
        return [("type", refusal.detail)]
    return []


def _within(path: str, places: Sequence[str]) -> bool:
    """Whether an error stands where a reference is: what will be there is not known yet."""
    return any(path == place or path.startswith(place + ".") for place in places)


def _place(name: str, path: str) -> str:
    return f"presets.{name}.{path}" if path else f"presets.{name}"
