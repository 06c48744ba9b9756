"""The task that a run is asked to execute: a task type or preset, the request's input, and its parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...errors import BadRequest
from ..requests import parse_json
from .errors import ApiError
from .items import parse_bool, parse_number, parse_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

RESTARTS = 3
"""How often a run is tried again that asks for `restartOnError` and says nothing else about it."""

MIN_MEMORY_MBYTES, MAX_MEMORY_MBYTES = 128, 32_768


def read_input(body: bytes, content_type: str) -> dict[str, Any]:
    """The input that a request carries; no body and `null` are none, whatever the content type says.

    Raises:
        ApiError: 415 for a body that is not JSON, 400 for JSON that is not an object.
    """
    if body.strip() in (b"", b"null"):
        return {}
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ApiError(
            415, "invalid-content-type-header", "Send the input as JSON, with Content-Type: application/json."
        )
    try:
        value = parse_json(body, "The input")
    except BadRequest as error:
        raise ApiError(400, "run-input-body-not-valid-json", str(error)) from error
    if not isinstance(value, dict):
        raise ApiError(400, "input-json-not-object", "The input must be a JSON object.")
    return value


def merge_task(base: Mapping[str, Any], given: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """The input's fields over those of the preset, and the run's own parameters over both (`job_options`).

    Raises:
        ApiError: 400 when the input names another task type, or a parameter is not valid.
    """
    if given.get("type", base["type"]) != base["type"]:
        raise ApiError(400, "invalid-input", f'The input\'s "type" must be "{base["type"]}" or absent.')
    task = {**base, **given}
    options = task.get("options") or {}
    if not isinstance(options, dict):
        return task
    options = {**options, **job_options(options, query)}
    return {**task, "options": options} if options else task


def job_options(options: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """What the parameters `timeout` (seconds, 0 for none of its own) and `restartOnError` make of a task's options.

    Raises:
        ApiError: 400 for one that is not valid.
    """
    asked: dict[str, Any] = {}
    if timeout := parse_seconds(query, "timeout"):
        asked["timeoutMs"] = math.ceil(timeout * 1000)
    if parse_bool(query, "restartOnError") and "retry" not in options:
        asked["retry"] = {"maxAttempts": RESTARTS + 1}
    return asked


def run_options(query: Mapping[str, str]) -> dict[str, Any]:
    """What a run is asked for that means nothing here but belongs to what clients read back.

    Raises:
        ApiError: 400 for a parameter that the platform would refuse too.
    """
    asked: dict[str, Any] = {}
    if build := query.get("build"):
        asked["build"] = build
    if memory := parse_number(query, "memory"):
        if not MIN_MEMORY_MBYTES <= memory <= MAX_MEMORY_MBYTES or memory & (memory - 1):
            raise ApiError(
                400, "invalid-parameter", 'Parameter "memory" must be a power of 2 from 128 to 32768.'
            )
        asked["memoryMbytes"] = memory
    if max_items := parse_number(query, "maxItems"):
        asked["maxItems"] = max_items
    if query.get("maxTotalChargeUsd"):
        asked["maxTotalChargeUsd"] = _dollars(query["maxTotalChargeUsd"])
    return asked


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e9:
        raise ApiError(400, "invalid-parameter", 'Parameter "maxTotalChargeUsd" must be a positive number.')
    return amount
