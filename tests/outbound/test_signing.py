from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from async_endpoint.outbound.signing import decode_secret, signature, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_signature_is_the_published_one() -> None:
    body = b'{"test": 2432232314}'
    made = signature(decode_secret(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(key=st.binary(min_size=1, max_size=64), text=st.text())
def test_the_reference_library_accepts_what_was_signed(key: bytes, text: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    body = json.dumps({"text": text}).encode()
    headers = signed_headers(decode_secret(secret), "msg_1", int(time.time()), body)
    assert Webhook(secret).verify(body, headers) == {"text": text}


def test_a_message_without_a_key_has_no_signature() -> None:
    assert signed_headers(None, "msg_1", 7, b"{}") == {"webhook-id": "msg_1", "webhook-timestamp": "7"}


def test_prefix_and_padding_of_a_secret_are_optional() -> None:
    assert (
        decode_secret("whsec_YWJjZA==") == decode_secret("YWJjZA") == decode_secret("whsec_YWJjZA") == b"abcd"
    )


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_A", "s3cr3t-", "whsec_é"])
def test_other_secrets_are_refused_without_being_named(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as caught:
        decode_secret(secret)
    assert "base64!" not in str(caught.value)
