"""Ad-hoc webhooks of a run: the `webhooks` query parameter, what they are told, and how it is sent."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from ...outbound.guard import BlockedError, check_url, parse_url
from ...outbound.headers import check_headers
from . import templates
from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRY_DELAYS_MS = tuple(60_000 * 2**retry for retry in range(11))
"""The platform tries 11 more times; the first gap is one minute and each is twice the one before."""

TIMEOUT_MS = 30_000
MAX_WEBHOOKS = 20

EVENT_TYPES = frozenset(
    {
        "ACTOR.RUN.CREATED",
        "ACTOR.RUN.SUCCEEDED",
        "ACTOR.RUN.FAILED",
        "ACTOR.RUN.ABORTED",
        "ACTOR.RUN.TIMED_OUT",
        "ACTOR.RUN.RESURRECTED",
    }
)

FIXED_HEADERS = frozenset({"host", "content-type", "content-length"})
FIXED_HEADER_PREFIX = "x-apify-"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def event_type(status: str) -> str:
    """The event of a run's terminal status: `TIMED-OUT` is told as `ACTOR.RUN.TIMED_OUT`."""
    return "ACTOR.RUN." + status.replace("-", "_")


def _known_event(name: str) -> str:
    if name not in EVENT_TYPES and not name.startswith("ACTOR.BUILD.") and name != "TEST":
        raise ValueError(f"unknown event type {name}")
    return name


class AdHocWebhook(BaseModel):
    """One webhook of one run (published schema WebhookRepresentation)."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    event_types: Annotated[
        tuple[Annotated[str, AfterValidator(_known_event)], ...], Field(min_length=1, max_length=20)
    ]
    request_url: Annotated[str, Field(min_length=1, max_length=2000)]
    payload_template: str | None = None
    headers_template: str | None = None
    should_interpolate_strings: bool | None = None
    do_not_retry: bool | None = None

    def payload(self, variables: Mapping[str, Any]) -> Any:
        """The JSON value to send.

        Raises:
            TemplateError: The template does not render with these variables.
        """
        template = self.payload_template or templates.DEFAULT_PAYLOAD_TEMPLATE
        return templates.render(
            template, variables, interpolate_strings=bool(self.should_interpolate_strings)
        )

    def headers(self, variables: Mapping[str, Any]) -> dict[str, str]:
        """The caller's own headers, without those that are always rewritten and those that come out as null.

        Raises:
            TemplateError: The template does not render to an object.
        """
        rendered = templates.render(
            self.headers_template or "{}",
            variables,
            interpolate_strings=bool(self.should_interpolate_strings),
        )
        if not isinstance(rendered, dict):
            raise templates.TemplateError("the headers template must render to an object")
        return {
            name: _header(value)
            for name, value in rendered.items()
            if value is not None and name.lower() not in FIXED_HEADERS
            if not name.lower().startswith(FIXED_HEADER_PREFIX)
        }


def _header(value: Any) -> str:
    """A rendered value as a header's: the message of a run may have line breaks, which no header can have."""
    return _CONTROL.sub(" ", templates.as_text(value))


_WEBHOOKS = TypeAdapter(tuple[AdHocWebhook, ...])


def parse_webhooks(encoded: str) -> tuple[AdHocWebhook, ...]:
    """Read the `webhooks` query parameter: a JSON list in Base64, plain or URL-safe.

    Raises:
        ApiError: 400 `invalid-parameter`.
    """
    if not encoded:
        return ()
    try:
        padded = encoded.replace(" ", "+").translate(str.maketrans("-_", "+/"))
        text = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
        webhooks = _WEBHOOKS.validate_json(text)
        for webhook in webhooks:
            _check(webhook)
    except BlockedError as error:
        raise _refused(f"a requestUrl is refused: {error.reason}") from None
    except ValidationError as error:
        raise _refused(_faults(error)) from None
    except ValueError as error:
        raise _refused(str(error)) from None
    if len(webhooks) > MAX_WEBHOOKS:
        raise ApiError(400, "too-many-webhooks", f"A run can have {MAX_WEBHOOKS} webhooks at most.")
    return webhooks


def _refused(reason: str) -> ApiError:
    return ApiError(400, "invalid-parameter", f'Parameter "webhooks" is not valid: {reason}')


def _faults(error: ValidationError) -> str:
    """Where the list is wrong and why, without the values: they may be secret."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:10]
    )


def _check(webhook: AdHocWebhook) -> None:
    """Refuse what could never be delivered."""
    variables = dict.fromkeys(templates.VARIABLES, "")
    check_url(parse_url(webhook.request_url))
    webhook.payload(variables)
    check_headers(webhook.headers(variables))
