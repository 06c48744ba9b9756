from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from async_endpoint.handlers.catalog import load_catalog
from async_endpoint.handlers.context import Resources
from async_endpoint.jobs.dispatcher import Limits
from async_endpoint.jobs.metrics import Metrics
from async_endpoint.jobs.registry import JobRegistry
from async_endpoint.jobs.store import JobStore
from async_endpoint.outbound.signing import decode_secret, signed_headers
from async_endpoint.settings import Settings
from async_endpoint.web import hooks
from async_endpoint.web.auth import Gatekeeper
from async_endpoint.web.backend import BACKEND
from async_endpoint.web.middlewares import answer_with_problem, guard
from async_endpoint.web.presets import Presets
from async_endpoint.web.routes import Route, Routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = {"Authorization": "Bearer sesame"}
PRESETS: dict[str, Any] = {
    "plain": {},
    "picks": {
        "payload": {
            "name": "{{body.repository.name}}",
            "event": "{{headers.X-Event}}",
            "ref": "{{query.ref}}",
        },
        "options": {"priority": "{{body.priority}}"},
    },
    "nap": {"type": "sleep", "ms": "{{body.ms}}"},
    "std": {"verify": {"scheme": "standard-webhooks", "secret": WHSEC}},
    "github": {"verify": {"scheme": "github", "secret": "s3cr3t"}},
    "stripe": {"verify": {"scheme": "stripe", "secret": "s3cr3t"}},
    "own": {"verify": {"scheme": "hmac-sha256", "secret": "s3cr3t", "header": "X-Digest"}},
}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[TestClient[Any, Any]]:
    """The hooks of the presets above on a registry of their own, behind a token."""
    store = JobStore(folder / "jobs.sqlite")
    await store.open()
    settings = Settings()
    catalog = load_catalog([], settings)
    async with aiohttp.ClientSession() as session:
        registry = JobRegistry(
            store, catalog.bind(Resources(settings, session, session)), Limits(), metrics=Metrics()
        )
        await registry.start()
        app = _app(
            settings=settings,
            catalog=catalog,
            registry=registry,
            store=store,
            presets=Presets(PRESETS, catalog.parse, "echo".__eq__),
            ready=True,
            url=lambda path: path,
        )
        async with TestClient(TestServer(app)) as client:
            yield client
        await registry.drain(5)
    await store.close()


def _app(**backend: Any) -> web.Application:
    route = Route(
        method="POST",
        path="/hooks/{preset}",
        handler=hooks.run,
        name="hook",
        summary="",
        answers={},
        open=hooks.is_open,
    )
    routes = Routes([route], {}, answer_with_problem)
    app = web.Application(middlewares=[guard(Gatekeeper("sesame", loopback=False), routes)])
    app[BACKEND] = SimpleNamespace(**backend)  # type: ignore[assignment]
    app.add_routes(routes.definitions())
    return app


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    async with serving(tmp_path) as one:
        yield one


async def post(client: TestClient[Any, Any], path: str, body: Any = b"", **headers: str) -> Any:
    """(status, answer, headers) of a hook; header names have underscores for dashes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Type", "application/json")
    async with client.post(f"/hooks/{path}", data=data, headers=named) as response:
        return response.status, await response.json(content_type=None), response.headers


async def post_raw(client: TestClient[Any, Any], preset: str, *headers: bytes) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a hook without a body, its headers sent byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    lines = (f"POST /hooks/{preset} HTTP/1.0".encode(), b"Host: x", b"Content-Length: 0", *headers, b"", b"")
    writer.write(b"\r\n".join(lines))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def task_of(client: TestClient[Any, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The task that an accepted hook became, secrets and all."""
    registry = client.app[BACKEND].registry  # type: ignore[union-attr]
    task: dict[str, Any] = json.loads((await registry.wait(answer["jobId"], 5)).task)
    return task


def digest(body: bytes, secret: str = "s3cr3t") -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class TestTask:
    async def test_the_request_becomes_the_payload(self, client: TestClient[Any, Any]) -> None:
        status, answer, headers = await post(
            client, "plain?a=1&a=2&b=%C3%BC", {"x": 1}, **TOKEN, X_Event="push"
        )
        assert status == 202
        assert headers["Location"] == answer["getUrl"] == f"/tasks/{answer['jobId']}"
        payload = (await task_of(client, answer))["payload"]
        assert {name: payload[name] for name in ("body", "query", "contentType")} == {
            "body": {"x": 1},
            "query": {"a": ["1", "2"], "b": "ü"},
            "contentType": "application/json",
        }
        assert payload["headers"]["x-event"] == "push"

    async def test_references_take_parts_of_it(self, client: TestClient[Any, Any]) -> None:
        body = {"repository": {"name": "demo"}, "priority": 7}
        _, answer, _ = await post(client, "picks?ref=main", body, **TOKEN, X_Event="push")
        assert await task_of(client, answer) == {
            "payload": {"name": "demo", "event": "push", "ref": "main"},
            "options": {"priority": 7},
        }

    @pytest.mark.parametrize(
        ("body", "content"),
        [
            (b'{"a": [1.5, null]}', {"a": [1.5, None]}),
            (b"7", 7),
            (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
            (b"", ""),
            ("grüße".encode(), "grüße"),
            (b'{"a": NaN}', '{"a": NaN}'),
            (b'"\\ud800"', '"\\ud800"'),
            (b"[" * 1000, "[" * 1000),
            (b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
        ],
    )
    async def test_a_body_is_json_else_text_else_base64(
        self, client: TestClient[Any, Any], body: bytes, content: Any
    ) -> None:
        status, answer, _ = await post(client, "plain", body, **TOKEN)
        assert (status, (await task_of(client, answer))["payload"]["body"]) == (202, content)

    async def test_what_the_preset_cannot_take_is_a_bad_request(self, client: TestClient[Any, Any]) -> None:
        for body in ({"ms": "soon"}, {}, b"text", b"[" * 140 + b"]" * 140):
            status, answer, _ = await post(client, "nap", body, **TOKEN)
            assert (status, answer["code"], answer["errors"][0]["path"]) == (400, "invalid-task", "ms")

    async def test_nesting_that_the_wrapping_makes_too_deep_is_no_error_inside(
        self, client: TestClient[Any, Any]
    ) -> None:
        for depth in range(145, 153):
            status, answer, _ = await post(client, "plain", b"[" * depth + b"]" * depth, **TOKEN)
            assert status == 202 or answer["code"] == "invalid-task"

    async def test_secrets_never_enter_the_task(self, client: TestClient[Any, Any]) -> None:
        secret = {
            "Authorization": "Bearer sesame",
            "Cookie": "s=sesame",
            "Proxy_Authorization": "Basic sesame",
            "X_Hub_Signature": "sha1=sesame",
            "X_Gitlab_Token": "sesame",
            "X_Shopify_Hmac_Sha256": "sesame",
            "X_Client_Secret": "sesame",
        }
        for more in (secret, {"X_Api_Key": "sesame"}):
            _, answer, _ = await post(client, "plain?token=sesame&page=2", {}, **more)
            task = await task_of(client, answer)
            assert "sesame" not in json.dumps(task)
            assert task["payload"]["query"] == {"page": "2"}

    async def test_raw_bytes_in_a_header_do_no_harm(self, client: TestClient[Any, Any]) -> None:
        status, answer = await post_raw(client, "plain", b"Authorization: Bearer sesame", b"X-Raw: a\xffb")
        assert status == 202
        assert (await task_of(client, answer))["payload"]["headers"]["x-raw"] == "a\ufffdb"


class TestAuthentication:
    async def test_a_preset_without_verify_needs_the_token(self, client: TestClient[Any, Any]) -> None:
        assert (await post(client, "plain", {}))[0] == 401
        assert (await post(client, "nope", {}))[0] == 401
        status, answer, _ = await post(client, "nope", {}, **TOKEN)
        assert (status, answer["code"]) == (404, "preset-not-found")

    async def test_a_signature_takes_the_place_of_the_token(self, client: TestClient[Any, Any]) -> None:
        body, now = b'{"id": "evt_1", "a":  1}', int(time.time())
        requests = {
            "std": signed_headers(decode_secret(WHSEC), "msg_1", now, body),
            "github": {"X-Hub-Signature-256": "sha256=" + digest(body)},
            "stripe": {"Stripe-Signature": f"t={now},v1={digest(f'{now}.'.encode() + body)}"},
            "own": {"X-Digest": digest(body)},
        }
        for preset, headers in requests.items():
            status, answer, _ = await post(
                client, preset, body, **headers, Authorization="Bearer of something else"
            )
            assert status == 202, answer
            task = await task_of(client, answer)
            assert task["payload"]["body"] == {"id": "evt_1", "a": 1}
            assert (
                not set(map(str.lower, headers))
                & {"webhook-signature", "x-digest"}
                & set(task["payload"]["headers"])
            )

    async def test_the_token_does_not_take_the_place_of_a_signature(
        self, client: TestClient[Any, Any]
    ) -> None:
        for headers in ({}, {"X-Hub-Signature-256": "sha256=" + digest(b"other")}):
            status, answer, sent = await post(client, "github?token=sesame", {}, **TOKEN, **headers)
            assert (status, answer["code"]) == (401, "invalid-signature")
            assert "WWW-Authenticate" in sent

    async def test_the_raw_body_is_what_is_signed(self, client: TestClient[Any, Any]) -> None:
        signed = {"X-Hub-Signature-256": "sha256=" + digest(b'{"a":1}')}
        assert (await post(client, "github", b'{"a": 1}', **signed))[0] == 401
        assert (await post(client, "github", b'{"a":1}', **signed))[0] == 202

    async def test_an_old_timestamp_is_refused(self, client: TestClient[Any, Any]) -> None:
        headers = signed_headers(decode_secret(WHSEC), "msg_1", int(time.time()) - 301, b"{}")
        assert (await post(client, "std", b"{}", **headers))[0] == 401

    async def test_before_the_service_is_ready_nothing_is_taken(self, client: TestClient[Any, Any]) -> None:
        client.app[BACKEND].ready = False  # type: ignore[union-attr]
        signed = {"X-Hub-Signature-256": "sha256=" + digest(b"{}")}
        status, answer, headers = await post(client, "github", b"{}", **signed)
        assert (status, answer["code"], "Retry-After" in headers) == (503, "starting", True)


class TestDeduplication:
    async def test_a_delivery_that_comes_again_is_the_first_job(self, client: TestClient[Any, Any]) -> None:
        now = int(time.time())
        first = await post(
            client, "std", b"{}", **signed_headers(decode_secret(WHSEC), "msg_1", now - 60, b"{}")
        )
        again = await post(
            client,
            "std",
            b"{}",
            **signed_headers(decode_secret(WHSEC), "msg_1", now, b"{}"),
            Traceparent="00-1",
        )
        other = await post(client, "std", b"{}", **signed_headers(decode_secret(WHSEC), "msg_2", now, b"{}"))
        assert [status for status, _, _ in (first, again, other)] == [202, 202, 202]
        assert first[1]["jobId"] == again[1]["jobId"] != other[1]["jobId"]
        assert [reply[2].get("Idempotent-Replayed") for reply in (first, again)] == [None, "true"]

    async def test_github_and_stripe_name_their_deliveries(self, client: TestClient[Any, Any]) -> None:
        body, now = b'{"id": "evt_1"}', int(time.time())
        github = {"X-Hub-Signature-256": "sha256=" + digest(body), "X-GitHub-Delivery": "72d3162e"}
        stripe = {"Stripe-Signature": f"t={now},v1={digest(f'{now}.'.encode() + body)}"}
        for preset, headers in (("github", github), ("stripe", stripe)):
            ids = {(await post(client, preset, body, **headers))[1]["jobId"] for _ in range(2)}
            assert len(ids) == 1

    async def test_a_delivery_that_was_refused_does_not_use_its_id_up(
        self, client: TestClient[Any, Any]
    ) -> None:
        good = {"X-Hub-Signature-256": "sha256=" + digest(b"{}"), "X-GitHub-Delivery": "1"}
        assert (await post(client, "github", b"{}", **{**good, "X-Hub-Signature-256": "sha256=0"}))[0] == 401
        status, _, headers = await post(client, "github", b"{}", **good)
        assert (status, "Idempotent-Replayed" in headers) == (202, False)

    async def test_without_verification_the_senders_id_does_not_count(
        self, client: TestClient[Any, Any]
    ) -> None:
        headers = {**TOKEN, "webhook-id": "1", "X-GitHub-Delivery": "1"}
        ids = {(await post(client, "plain", {}, **headers))[1]["jobId"] for _ in range(2)}
        assert len(ids) == 2

    async def test_an_idempotency_key_is_a_presets_own(self, client: TestClient[Any, Any]) -> None:
        key = {**TOKEN, "Idempotency-Key": "k"}
        first = await post(client, "plain", {"a": 1}, **key)
        again = await post(client, "plain", {"a": 1}, **key, X_Forwarded_For="192.0.2.1")
        elsewhere = await post(client, "picks", {"a": 1, "priority": 1}, **key)
        assert first[1]["jobId"] == again[1]["jobId"] != elsewhere[1]["jobId"]
        status, answer, _ = await post(client, "plain", {"a": 2}, **key)
        assert (status, answer["code"]) == (422, "idempotency-conflict")

    async def test_ids_of_any_length_and_bytes_are_keys(self, client: TestClient[Any, Any]) -> None:
        signed = f"X-Hub-Signature-256: sha256={digest(b'')}".encode()
        ids = set()
        for delivery in (b"x" * 4000, b"\xff", b"a b", "é".encode()):
            replies = [
                await post_raw(client, "github", signed, b"X-GitHub-Delivery: " + delivery) for _ in range(2)
            ]
            assert [status for status, _ in replies] == [202, 202]
            assert replies[0][1]["jobId"] == replies[1][1]["jobId"]
            ids.add(replies[0][1]["jobId"])
        assert len(ids) == 4
