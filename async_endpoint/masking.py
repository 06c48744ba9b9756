"""Hides secrets of a task in everything that is shown, streamed, sent or written as a row."""

from __future__ import annotations

from typing import Any

MASK = "***"

_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "x-api-key", "proxy-authorization"})


def masked(task: dict[str, Any]) -> dict[str, Any] | None:
    """A copy of the task with webhook secrets and credential headers masked; None where it has none."""
    if "headers" not in task and "options" not in task:
        return None
    shown = dict(task)
    if isinstance(task.get("headers"), dict):
        shown["headers"] = _mask_headers(task["headers"])
    options = task.get("options")
    if isinstance(options, dict) and isinstance(options.get("webhooks"), list):
        shown["options"] = {
            **options,
            "webhooks": [_mask_webhook(webhook) for webhook in options["webhooks"]],
        }
    return None if shown == task else shown


def _mask_webhook(webhook: Any) -> Any:
    if not isinstance(webhook, dict):
        return webhook
    shown = dict(webhook)
    if shown.get("secret") is not None:
        shown["secret"] = MASK
    if isinstance(shown.get("headers"), dict):
        shown["headers"] = _mask_headers(shown["headers"])
    return shown


def _mask_headers(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: MASK if name.lower() in _CREDENTIAL_HEADERS else value for name, value in headers.items()}
