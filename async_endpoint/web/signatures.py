"""Verification of inbound webhooks: who sent these bytes, and when.

Every scheme is an HMAC-SHA256 over the raw body. Signatures are compared in constant time; where a scheme
signs a timestamp, it may be at most five minutes off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..errors import InvalidSignature
from ..jobs.model import Model
from ..outbound.signing import decode_secret, signature

TOLERANCE_SECONDS = 300

Headers = Mapping[str, str]
"""A request's headers; names in any case."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)

Secret = Annotated[
    str, Field(min_length=1, max_length=500, repr=False, description="Shared with the sender.")
]


class StandardWebhooks(Model):
    """Standard Webhooks 1.0, symmetric scheme (https://www.standardwebhooks.com)."""

    scheme: Literal["standard-webhooks"]
    secret: Secret

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: str) -> str:
        decode_secret(secret)
        return secret

    def verify(self, headers: Headers, body: bytes, now: float) -> None:
        """Raise InvalidSignature unless the sender signed these bytes."""
        message_id, timestamp = _required(headers, "webhook-id"), _required(headers, "webhook-timestamp")
        given = _required(headers, "webhook-signature").split(" ")
        _check_time(timestamp, now)
        _check_digest(signature(decode_secret(self.secret), message_id, timestamp, body), given)

    def delivery_id(self, headers: Headers, content: Any) -> str | None:
        """What stays the same when the sender tries again."""
        return headers.get("webhook-id")

    @property
    def signature_headers(self) -> frozenset[str]:
        """The headers, in lower case, that carry the signature."""
        return frozenset({"webhook-signature"})


class GitHub(Model):
    """GitHub's `X-Hub-Signature-256` (docs.github.com: Validating webhook deliveries)."""

    scheme: Literal["github"]
    secret: Secret

    def verify(self, headers: Headers, body: bytes, now: float) -> None:
        """Raise InvalidSignature unless the sender signed these bytes; the scheme has no timestamp."""
        given = _required(headers, "X-Hub-Signature-256")
        _check_digest("sha256=" + _digest(self.secret, body).hex(), [given.lower()])

    def delivery_id(self, headers: Headers, content: Any) -> str | None:
        """What stays the same when the sender tries again."""
        return headers.get("X-GitHub-Delivery")

    @property
    def signature_headers(self) -> frozenset[str]:
        """The headers, in lower case, that carry the signature."""
        return frozenset({"x-hub-signature", "x-hub-signature-256"})


class Stripe(Model):
    """Stripe's `Stripe-Signature: t=…,v1=…` (docs.stripe.com/webhooks: Verify manually)."""

    scheme: Literal["stripe"]
    secret: Secret

    def verify(self, headers: Headers, body: bytes, now: float) -> None:
        """Raise InvalidSignature unless the sender signed these bytes."""
        parts = [part.strip().partition("=") for part in _required(headers, "Stripe-Signature").split(",")]
        timestamp = next((value for name, _, value in parts if name == "t"), "")
        _check_time(timestamp, now)
        expected = _digest(self.secret, timestamp.encode() + b"." + body).hex()
        _check_digest(expected, [value.lower() for name, _, value in parts if name == "v1"])

    def delivery_id(self, headers: Headers, content: Any) -> str | None:
        """What stays the same when the sender tries again: the event's id."""
        event_id = content.get("id") if isinstance(content, dict) else None
        return event_id if isinstance(event_id, str) else None

    @property
    def signature_headers(self) -> frozenset[str]:
        """The headers, in lower case, that carry the signature."""
        return frozenset({"stripe-signature"})


class HmacSha256(Model):
    """HMAC-SHA256 of the body in a header of the sender's choice, bare or after `sha256=`."""

    scheme: Literal["hmac-sha256"]
    secret: Secret
    header: Annotated[
        str,
        Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=200, description="Carries the signature."),
    ]
    encoding: Annotated[Literal["hex", "base64"], Field(description="How it is written.")] = "hex"

    def verify(self, headers: Headers, body: bytes, now: float) -> None:
        """Raise InvalidSignature unless the sender signed these bytes; the scheme has no timestamp."""
        given = _required(headers, self.header).strip().removeprefix("sha256=")
        digest = _digest(self.secret, body)
        if self.encoding == "hex":
            _check_digest(digest.hex(), [given.lower()])
        else:
            _check_digest(base64.b64encode(digest).decode(), [given])

    def delivery_id(self, headers: Headers, content: Any) -> str | None:
        """What stays the same when the sender tries again."""
        return headers.get("webhook-id")

    @property
    def signature_headers(self) -> frozenset[str]:
        """The headers, in lower case, that carry the signature."""
        return frozenset({self.header.lower()})


Verify = Annotated[StandardWebhooks | GitHub | Stripe | HmacSha256, Field(discriminator="scheme")]
"""How a preset tells its sender from others."""


def _required(headers: Headers, name: str) -> str:
    value = headers.get(name)
    if not value:
        raise InvalidSignature(f"The header {name} is missing.")
    return value


def _check_time(timestamp: str, now: float) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise InvalidSignature("The signature's timestamp is missing or no number of seconds.")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise InvalidSignature(f"The signature's timestamp is more than {TOLERANCE_SECONDS} seconds off.")


def _digest(secret: str, content: bytes) -> bytes:
    return hmac.digest(secret.encode(), content, hashlib.sha256)


def _check_digest(expected: str, given: Iterable[str]) -> None:
    wanted = expected.encode()
    # All are compared, so that the time does not tell which one matched.
    matches = [hmac.compare_digest(wanted, one.encode("utf-8", "surrogateescape")) for one in given]
    if not any(matches):
        raise InvalidSignature
