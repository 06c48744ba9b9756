from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import TypeAdapter, ValidationError
from standardwebhooks import Webhook

from async_endpoint.errors import InvalidSignature
from async_endpoint.web.signatures import TOLERANCE_SECONDS, Verify

NOW = 1_700_000_000.0
SCHEMES: TypeAdapter[Any] = TypeAdapter(Verify)


def verifier(scheme: str, secret: str, **more: Any) -> Any:
    return SCHEMES.validate_python({"scheme": scheme, "secret": secret, **more})


def stripe_header(secret: str, timestamp: float, body: bytes) -> str:
    content = f"{int(timestamp)}.".encode() + body
    return f"t={int(timestamp)},v1={hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()}"


class TestStandardWebhooks:
    verify = verifier("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    at = 1614265330
    headers = CIMultiDict(
        {
            "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "Webhook-Timestamp": str(at),
            "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }
    )

    def changed(self, **headers: str | None) -> CIMultiDict[str]:
        new = {name.replace("_", "-"): value for name, value in headers.items()}
        merged: dict[str, str | None] = {name.lower(): value for name, value in self.headers.items()} | new
        return CIMultiDict({name: value for name, value in merged.items() if value is not None})

    def test_the_published_vector_is_accepted(self) -> None:
        self.verify.verify(self.headers, self.body, self.at)
        assert self.verify.delivery_id(self.headers, None) == "msg_p5jXN8AQM9LWM0D4loKWxJek"

    def test_one_of_several_signatures_is_enough(self) -> None:
        both = "v1a,c2lnbmVk v1,bm90IHRoaXM= " + self.headers["webhook-signature"]
        self.verify.verify(self.changed(webhook_signature=both), self.body, self.at)

    def test_what_the_reference_library_signs_is_accepted(self) -> None:
        at = datetime.now(UTC)
        signed = Webhook(self.verify.secret).sign("msg_é", at, '{"ü": 1}')
        headers = {
            "webhook-id": "msg_é",
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signed,
        }
        self.verify.verify(headers, '{"ü": 1}'.encode(), time.time())

    @pytest.mark.parametrize("name", ["webhook_id", "webhook_timestamp", "webhook_signature"])
    def test_every_header_is_needed_and_signed(self, name: str) -> None:
        for value in (None, "", "1614265331", "v1,AAAA", "v1"):
            with pytest.raises(InvalidSignature):
                self.verify.verify(self.changed(**{name: value}), self.body, self.at)

    def test_another_version_of_the_same_signature_does_not_count(self) -> None:
        other = self.headers["webhook-signature"].replace("v1,", "v2,")
        with pytest.raises(InvalidSignature):
            self.verify.verify(self.changed(webhook_signature=other), self.body, self.at)

    @pytest.mark.parametrize("off", [-TOLERANCE_SECONDS, TOLERANCE_SECONDS])
    def test_five_minutes_are_tolerated_and_no_second_more(self, off: int) -> None:
        self.verify.verify(self.headers, self.body, self.at + off)
        with pytest.raises(InvalidSignature, match="300 seconds"):
            self.verify.verify(self.headers, self.body, self.at + off + (1 if off > 0 else -1))

    @pytest.mark.parametrize(
        "timestamp", ["1.5", "-1", "1e9", "\uff11\uff16", "9" * 13, "nan", " 1614265330"]
    )
    def test_a_timestamp_is_a_plain_number(self, timestamp: str) -> None:
        with pytest.raises(InvalidSignature, match="timestamp"):
            self.verify.verify(self.changed(webhook_timestamp=timestamp), self.body, self.at)


class TestGitHub:
    verify = verifier("github", "It's a Secret to Everybody")
    body = b"Hello, World!"
    hexdigest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    def test_the_published_vector_is_accepted(self) -> None:
        headers = CIMultiDict(
            {"x-hub-signature-256": "sha256=" + self.hexdigest, "x-github-delivery": "72d3162e"}
        )
        self.verify.verify(headers, self.body, NOW)
        assert self.verify.delivery_id(headers, None) == "72d3162e"

    @pytest.mark.parametrize(
        "value", ["", hexdigest, "sha1=" + hexdigest, "sha256=" + hexdigest[:-1], "\udcff"]
    )
    def test_other_values_are_refused(self, value: str) -> None:
        with pytest.raises(InvalidSignature):
            self.verify.verify({"X-Hub-Signature-256": value}, self.body, NOW)

    def test_the_old_sha1_header_alone_is_refused(self) -> None:
        old = hmac.new(self.verify.secret.encode(), self.body, "sha1").hexdigest()
        with pytest.raises(InvalidSignature):
            self.verify.verify({"X-Hub-Signature": "sha1=" + old}, self.body, NOW)

    @given(body=st.binary())
    def test_any_other_body_is_refused(self, body: bytes) -> None:
        if body != self.body:
            with pytest.raises(InvalidSignature):
                self.verify.verify({"X-Hub-Signature-256": "sha256=" + self.hexdigest}, body, NOW)


class TestStripe:
    """The signed content is `timestamp.body`; the digest of this secret, time and body is published."""

    verify = verifier("stripe", "secret")
    published = "t=123,v1=f89c0a0e96fa6304a7ebd5ecaf13bc1beb859577cd7cafb7bdbc43c3bc2f6afa"

    def test_a_published_vector_is_accepted(self) -> None:
        self.verify.verify(CIMultiDict({"stripe-signature": self.published}), b"hello", 123)

    def test_signatures_of_several_secrets_and_versions_may_come_together(self) -> None:
        header = self.published.replace("v1=", "v1=bad_signature,v0=6ffbb59b,v1=")
        self.verify.verify({"Stripe-Signature": header}, b"hello", 123)

    @pytest.mark.parametrize(
        "header",
        ["", "t=123", "t=", "v1,t=1", published.replace("v1", "v0"), published.replace("t=123", "t=124")],
    )
    def test_other_headers_are_refused(self, header: str) -> None:
        with pytest.raises(InvalidSignature):
            self.verify.verify({"Stripe-Signature": header}, b"hello", 123)

    def test_an_old_timestamp_is_refused(self) -> None:
        with pytest.raises(InvalidSignature, match="timestamp"):
            self.verify.verify({"Stripe-Signature": self.published}, b"hello", 123 + TOLERANCE_SECONDS + 1)

    def test_the_event_id_names_the_delivery(self) -> None:
        assert self.verify.delivery_id({}, {"id": "evt_1", "object": "event"}) == "evt_1"
        assert [self.verify.delivery_id({}, content) for content in ({"id": 7}, {}, [], "text", None)] == [
            None
        ] * 5


class TestHmacSha256:
    """The digest is test case 2 of RFC 4231."""

    body = b"what do ya want for nothing?"
    hexdigest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    @pytest.mark.parametrize("prefix", ["", "sha256="])
    def test_hex_is_accepted_bare_or_with_its_name(self, prefix: str) -> None:
        verify = verifier("hmac-sha256", "Jefe", header="X-Sign")
        verify.verify(CIMultiDict({"x-sign": prefix + self.hexdigest.upper()}), self.body, NOW)
        assert verify.signature_headers == {"x-sign"}

    def test_base64_is_accepted_where_it_is_the_encoding(self) -> None:
        encoded = base64.b64encode(bytes.fromhex(self.hexdigest)).decode()
        verifier("hmac-sha256", "Jefe", header="X-Sign", encoding="base64").verify(
            {"X-Sign": encoded}, self.body, NOW
        )
        with pytest.raises(InvalidSignature):
            verifier("hmac-sha256", "Jefe", header="X-Sign").verify({"X-Sign": encoded}, self.body, NOW)

    def test_a_missing_header_is_named(self) -> None:
        with pytest.raises(InvalidSignature, match="X-Sign is missing"):
            verifier("hmac-sha256", "Jefe", header="X-Sign").verify({}, self.body, NOW)


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "github"},
        {"scheme": "github", "secret": ""},
        {"scheme": "md5", "secret": "x"},
        {"scheme": "standard-webhooks", "secret": "not base64!"},
        {"scheme": "hmac-sha256", "secret": "x"},
        {"scheme": "hmac-sha256", "secret": "x", "header": "X Sign"},
        {"scheme": "hmac-sha256", "secret": "x", "header": "X-Sign", "encoding": "base32"},
        {"scheme": "stripe", "secret": "x", "tolerance": 10},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SCHEMES.validate_python(settings)


def test_a_secret_is_not_shown() -> None:
    assert "s3cr3t" not in repr(verifier("github", "s3cr3t"))


def test_a_digest_with_bytes_beyond_ascii_is_refused_not_an_error() -> None:
    for header in ("t=123,v1=é", "t=123,v1=\udcff"):
        with pytest.raises(InvalidSignature):
            verifier("stripe", "x").verify({"Stripe-Signature": header}, b"", 123)


def test_a_current_stripe_event_is_accepted() -> None:
    body = b'{"id": "evt_1"}'
    verifier("stripe", "whsec_live").verify(
        {"Stripe-Signature": stripe_header("whsec_live", NOW, body)}, body, NOW
    )
