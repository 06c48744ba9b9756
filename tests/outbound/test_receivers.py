from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.jobs.model import WebhookOptions
from async_endpoint.outbound.receivers import receiver_faults


def members(**webhook: Any) -> list[str]:
    return [
        member
        for member, _ in receiver_faults(WebhookOptions(**{"url": "https://example.com/hook", **webhook}))
    ]


def test_a_good_one_has_no_faults() -> None:
    assert members(secret="whsec_YWJjZA==", headers={"Authorization": "Basic YQ=="}) == []


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "/hook",
        "ftp://example.com",
        "https://",
        "https://a:b@example.com",
        "http://[::",
        "x\ny",
    ],
)
def test_a_url_that_cannot_be_requested_is_one(url: str) -> None:
    assert members(url=url) == ["url"]


def test_every_fault_is_told_without_the_value() -> None:
    webhook = WebhookOptions(url="nope", secret="s3cr3t!", headers={"Host": "s3cr3t"})
    found = dict(receiver_faults(webhook))
    assert list(found) == ["url", "secret", "headers"]
    assert "s3cr3t" not in str(found)
