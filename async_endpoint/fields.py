"""What the settings are made of: their sections, and the types of their values."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from .jobs.model import WebhookOptions
from .outbound.hosts import HostList
from .outbound.receivers import receiver_faults

MEBIBYTE = 1024 * 1024
LONGEST_MS = 30 * 86_400_000
"""The longest duration that a setting takes: 30 days, in milliseconds."""


class Section(StrEnum):
    """The groups of the input form, in the order of its fields; the value is the caption."""

    ACCESS = "Access"
    JOBS = "Jobs"
    WAITING = "Waiting"
    KEEPING = "Keeping jobs"
    FETCH = "Fetch tasks"
    WEBHOOKS = "Webhooks and presets"


def _check_host(pattern: str) -> str:
    HostList([pattern])
    return pattern


def _check_receiver(webhook: WebhookOptions) -> WebhookOptions:
    faults = [f"{member}: {reason}" for member, reason in receiver_faults(webhook)]
    if faults:
        raise ValueError("; ".join(faults))
    return webhook


Durability = Literal["full", "snapshot"]
"""When an acknowledged job is safe on the Apify platform; locally every commit always is."""

HostPattern = Annotated[str, AfterValidator(_check_host)]
Receiver = Annotated[WebhookOptions, AfterValidator(_check_receiver)]
PresetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
RetryDelay = Annotated[int, Field(ge=0, le=LONGEST_MS)]


def setting(
    default: Any, section: Section, title: str, description: str, *, secret: bool = False, **more: Any
) -> Any:
    """A model field with all that the input form and the documentation need.

    Args:
        default: The value when nothing is given.
        section: Where the input form shows it; fields of one section stand together.
        title: Its name for people.
        description: What it does, in sentences.
        secret: Whether it is never shown, and encrypted by the platform.
        more: `unit`, `editor` (of the input form), `allowed` (what is right, in words, where the type and the
            bounds do not say it), and pydantic's own arguments, such as bounds.
    """
    info: Any = {"section": section, "secret": secret}
    info.update({key: more.pop(key) for key in ("unit", "editor", "allowed") if key in more})
    return Field(
        default, title=title, description=description, repr=not secret, json_schema_extra=info, **more
    )
