from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from async_endpoint.web.apify_api.errors import ApiError
from async_endpoint.web.apify_api.templates import DEFAULT_PAYLOAD_TEMPLATE, TemplateError, render
from async_endpoint.web.apify_api.webhooks import RETRY_DELAYS_MS, event_type, parse_webhooks

VARIABLES: dict[str, Any] = {
    "userId": "u1",
    "createdAt": "2026-01-02T03:04:05.678Z",
    "eventType": "ACTOR.RUN.SUCCEEDED",
    "eventData": {"actorId": "echo", "actorRunId": "r1"},
    "resource": {"id": "r1", "status": "SUCCEEDED", "statusMessage": 'say "{{userId}}"'},
    "globals": {"dateISO": "2026-01-02T03:04:05.678Z", "dateUnix": 1767323045},
}


def encode(webhooks: Any) -> str:
    return base64.b64encode(json.dumps(webhooks).encode()).decode()


def test_the_default_template_holds_what_the_platform_documents() -> None:
    payload = render(DEFAULT_PAYLOAD_TEMPLATE, VARIABLES)
    assert list(payload) == ["userId", "createdAt", "eventType", "eventData", "resource"]
    assert payload["resource"] == VARIABLES["resource"]


def test_dotted_paths_reach_parts_and_missing_parts_are_null() -> None:
    template = '{"runId": {{resource.id}}, "x": {{ resource.nope.deeper }}, "unix": {{globals.dateUnix}}}'
    assert render(template, VARIABLES) == {"runId": "r1", "x": None, "unix": 1767323045}


def test_strings_stay_as_they_are_without_interpolation() -> None:
    assert render('{"text": "run {{resource.id}}"}', VARIABLES) == {"text": "run {{resource.id}}"}


def test_string_interpolation() -> None:
    template = (
        '{"all": "{{eventData}}", "text": "My \\"id\\" is {{userId}} of {{eventData}}", "{{userId}}": 1}'
    )
    assert render(template, VARIABLES, interpolate_strings=True) == {
        "all": VARIABLES["eventData"],
        "text": 'My "id" is u1 of {"actorId": "echo", "actorRunId": "r1"}',
        "u1": 1,
    }


def test_values_are_never_interpolated_again() -> None:
    payload = render('{"r": {{resource}}}', VARIABLES, interpolate_strings=True)
    assert payload["r"]["statusMessage"] == 'say "{{userId}}"'


@pytest.mark.parametrize("template", ['{"a": {{secret}}}', '{"a": }', "{{userId}} x", "", "{{user"])
def test_bad_templates_are_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, VARIABLES)


def test_webhooks_come_as_base64_json() -> None:
    [webhook] = parse_webhooks(
        encode(
            [
                {
                    "eventTypes": ["ACTOR.RUN.SUCCEEDED", "ACTOR.RUN.TIMED_OUT"],
                    "requestUrl": "http://receiver.test/",
                    "payloadTemplate": '{"id": {{resource.id}}}',
                    "headersTemplate": '{"Authorization": "t", "Host": "evil", "X-Apify-Webhook": "fake"}',
                    "isAdHoc": True,
                }
            ]
        )
    )
    assert webhook.payload(VARIABLES) == {"id": "r1"}
    assert webhook.headers(VARIABLES) == {"Authorization": "t"}


def test_a_url_safe_or_unpadded_value_is_read_too() -> None:
    encoded = base64.urlsafe_b64encode(
        json.dumps([{"eventTypes": ["TEST"], "requestUrl": "http://x/?>>>???"}]).encode()
    )
    assert parse_webhooks(encoded.decode().rstrip("="))[0].request_url == "http://x/?>>>???"
    assert parse_webhooks("") == ()


@pytest.mark.parametrize(
    "value",
    [
        "%%%",
        encode({"eventTypes": []}),
        encode([{"eventTypes": ["ACTOR.RUN.NOPE"], "requestUrl": "http://x"}]),
        encode([{"eventTypes": ["TEST"]}]),
        encode([{"eventTypes": ["TEST"], "requestUrl": "http://x", "payloadTemplate": "{{nope}}"}]),
        encode([{"eventTypes": ["TEST"], "requestUrl": "http://x", "headersTemplate": '["a"]'}]),
        encode([{"eventTypes": ["TEST"], "requestUrl": "http://x", "headersTemplate": '{"a b": "c"}'}]),
    ],
)
def test_bad_webhooks_are_refused(value: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_webhooks(value)
    assert (caught.value.status, caught.value.type) == (400, "invalid-parameter")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "/hook",
        "",
        "ftp://x/",
        "http://",
        "https://user:pass@x/",
        "javascript:alert(1)",
        "http://a b/",
    ],
)
def test_a_url_to_which_nothing_can_be_sent_is_refused(url: str) -> None:
    with pytest.raises(ApiError, match="webhooks") as caught:
        parse_webhooks(encode([{"eventTypes": ["TEST"], "requestUrl": url}]))
    assert (caught.value.status, caught.value.type) == (400, "invalid-parameter")


def test_a_refusal_says_where_and_why_without_the_values() -> None:
    webhook = {"eventTypes": ["TEST"], "requestUrl": "http://x/?key=s3cr3t"}
    with pytest.raises(ApiError) as caught:
        parse_webhooks(encode([webhook, webhook | {"eventTypes": "s3cr3t", "doNotRetry": []}]))
    assert str(caught.value) == (
        'Parameter "webhooks" is not valid: 1.eventTypes: Input should be a valid array; '
        "1.doNotRetry: Input should be a valid boolean"
    )


def test_headers_can_hold_any_part_of_the_run() -> None:
    template = (
        '{"X-Run": {{resource.id}}, "X-Unix": {{globals.dateUnix}}, "X-Data": {{eventData}}, '
        '"X-None": {{resource.nope}}, "X-Text": "{{resource.text}}"}'
    )
    [webhook] = parse_webhooks(
        encode(
            [
                {
                    "eventTypes": ["TEST"],
                    "requestUrl": "http://x",
                    "headersTemplate": template,
                    "shouldInterpolateStrings": True,
                }
            ]
        )
    )
    variables = VARIABLES | {"resource": {"id": "r1", "text": "two\nlines"}}
    assert webhook.headers(variables) == {
        "X-Run": "r1",
        "X-Unix": "1767323045",
        "X-Data": '{"actorId": "echo", "actorRunId": "r1"}',
        "X-Text": "two lines",
    }


def test_eleven_retries_double_from_one_minute() -> None:
    assert len(RETRY_DELAYS_MS) == 11
    assert RETRY_DELAYS_MS[:3] == (60_000, 120_000, 240_000)


def test_event_types_have_underscores_where_statuses_have_hyphens() -> None:
    assert event_type("TIMED-OUT") == "ACTOR.RUN.TIMED_OUT"
