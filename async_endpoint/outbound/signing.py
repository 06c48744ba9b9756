"""Signatures of webhook deliveries: Standard Webhooks 1.0, symmetric scheme `v1` (HMAC-SHA256)."""

from __future__ import annotations

import base64
import hashlib
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix every such secret has, no secret


def decode_secret(secret: str) -> bytes:
    """The key within a `whsec_…` secret: base64, its padding optional; the prefix may be left out.

    Raises:
        ValueError: the secret is not of this form.
    """
    text = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"a webhook secret is '{SECRET_PREFIX}' and the key in base64")
    return key


def signature(key: bytes, message_id: str, timestamp: int | str, body: bytes) -> str:
    """The signature of one message, such as `v1,K5oZ…`; `timestamp` counts seconds since the epoch."""
    content = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def signed_headers(key: bytes | None, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt: the message's id, the attempt's time and, with a key, the signature."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if key is not None:
        headers["webhook-signature"] = signature(key, message_id, timestamp, body)
    return headers
