"""The Apify-compatible API by plain HTTP: statuses, headers, bodies and the published schemas."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.acceptance.apify_service import ENV, SETTINGS, check
from tests.acceptance.service import ROW_FIELDS, TOKEN, Client, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.conftest import Factory
    from tests.acceptance.service import Service

PADDED = b'{"payload": {"hello": "world"}}' + b" " * 2000


@pytest.fixture(scope="module")
def service(session_make: Factory) -> Service:
    return session_make(SETTINGS, env=ENV).launch_until_ready()


@pytest.fixture
async def api(service: Service) -> AsyncIterator[Client]:
    async with service.client({"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


async def start(api: Client, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
    """The run that a POST started."""
    reply = await api.post(path, body, **options)
    assert reply.status == 201, reply.body
    run: dict[str, Any] = check("RunResponse", reply.json())["data"]
    return run


def refused(reply: Reply, status: int, error_type: str) -> str:
    """The message of a refusal in the platform's form."""
    assert reply.status == status, (reply.status, reply.body)
    error = check("ErrorResponse", reply.json())["error"]
    assert error["type"] == error_type
    return str(error["message"])


async def test_everything_answers_as_published(api: Client) -> None:
    run = await start(api, "/v2/actor-tasks/me~crawl-five/runs?waitForFinish=10", {})
    assert run["status"] == "SUCCEEDED"
    run_id = run["id"]
    expected = {
        f"/v2/actor-runs/{run_id}": "RunResponse",
        f"/v2/acts/crawl/runs/{run_id}": "RunResponse",
        "/v2/actor-tasks/crawl-five/runs/last": "RunResponse",
        "/v2/actor-runs": "ListOfRunsResponse",
        "/v2/acts/crawl/runs?desc=1": "ListOfRunsResponse",
        "/v2/actor-tasks/crawl-five/runs": "ListOfRunsResponse",
        f"/v2/datasets/{run_id}": "DatasetResponse",
        f"/v2/actor-runs/{run_id}/dataset": "DatasetResponse",
        "/v2/datasets/default": "DatasetResponse",
        f"/v2/key-value-stores/{run_id}": "KeyValueStoreResponse",
        "/v2/acts/crawl/runs/last/key-value-store": "KeyValueStoreResponse",
        f"/v2/key-value-stores/{run_id}/keys": "ListOfKeysResponse",
        f"/v2/key-value-stores/{run_id}/keys?limit=1": "ListOfKeysResponse",
        "/v2/key-value-stores/default/keys": "ListOfKeysResponse",
        "/v2/actor-tasks/crawl-five": "TaskResponse",
        "/v2/acts/crawl": "ActorResponse",
        "/v2/actors/anyone~crawl": "ActorResponse",
        "/v2/users/me": "UserPrivateInfoResponse",
    }
    for path, schema in expected.items():
        reply = await api.get(path)
        assert reply.status == 200, (path, reply.body)
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        check(schema, reply.json())


async def test_runs_in_every_state_answer_as_published(api: Client) -> None:
    run = await start(api, "/v2/acts/sleep/runs", {"ms": 60_000, "options": {"delayMs": 60_000}})
    assert run["status"] == "READY"
    check("RunResponse", (await api.get(f"/v2/actor-runs/{run['id']}")).json())
    aborted = await api.post(f"/v2/actor-runs/{run['id']}/abort")
    assert check("RunResponse", aborted.json())["data"]["status"] == "ABORTED"
    failed = await start(api, "/v2/acts/raise/runs?waitForFinish=5", {})
    assert failed["status"] == "FAILED"
    assert failed["isStatusMessageTerminal"]


async def test_start_says_where_the_run_is_and_does_not_wait(api: Client) -> None:
    started = time.perf_counter()
    reply = await api.post("/v2/actor-tasks/half-second/runs", headers={"Content-Type": "application/json"})
    assert time.perf_counter() - started < 0.4
    run = check("RunResponse", reply.json())["data"]
    assert reply.headers["Location"] == f"/v2/actor-runs/{run['id']}"
    assert (await api.get(reply.headers["Location"])).status == 200


async def test_waiting_ends_with_the_run(api: Client) -> None:
    run = await start(api, "/v2/actor-tasks/half-second/runs")
    reply = await api.get(f"/v2/actor-runs/{run['id']}?waitForFinish=999999")
    assert reply.json()["data"]["status"] == "SUCCEEDED"
    run = await start(api, "/v2/actor-tasks/long/runs")
    reply = await api.get(f"/v2/actor-runs/{run['id']}?waitForFinish=0.2")
    assert reply.json()["data"]["status"] == "RUNNING"
    await api.post(f"/v2/actor-runs/{run['id']}/abort")


# --- synchronous runs ---


async def test_run_sync_gives_the_output_record(api: Client) -> None:
    for kind in ("acts", "actors"):
        reply = await api.post(f"/v2/{kind}/echo/run-sync?token={TOKEN}", {"payload": 1})
        assert (reply.status, reply.json()) == (201, {"taskType": "echo", "payload": 1})
    reply = await api.get("/v2/actor-tasks/greet/run-sync")
    assert (reply.status, reply.json()["payload"]) == (201, {"hello": "world"})
    reply = await api.post("/v2/actor-tasks/crawl-five/run-sync?outputRecordKey=shot.png")
    assert (reply.status, reply.body) == (201, b"\x89PNG\r\n")
    assert reply.headers["Content-Type"] == "image/png"
    reply = await api.post("/v2/acts/talker/run-sync", {"lines": 0})
    assert (reply.status, reply.body) == (201, b"")


async def test_run_sync_gives_the_dataset_items(api: Client) -> None:
    path = "/v2/actor-tasks/crawl-five/run-sync-get-dataset-items"
    reply = await api.post(f"{path}?fields=number&limit=2&desc=1", {"items": 4})
    assert (reply.status, reply.json()) == (201, [{"number": 3}, {"number": 2}])
    assert reply.headers["X-Apify-Pagination-Total"] == "4"
    reply = await api.get(f"{path}?format=csv&clean=1&bom=0&fields=number")
    assert (reply.status, reply.body) == (201, b"number\n0\n1\n2\n3\n4\n")
    total = (await api.get("/v2/actor-tasks/crawl-five/runs")).json()["data"]["total"]
    refused(await api.post(f"{path}?format=pdf"), 400, "invalid-parameter")
    assert (await api.get("/v2/actor-tasks/crawl-five/runs")).json()["data"]["total"] == total


@pytest.mark.soak
@pytest.mark.timeout(360)
async def test_run_sync_of_a_run_that_goes_on(api: Client) -> None:
    timeout = aiohttp.ClientTimeout(350)
    reply = await api.post("/v2/actor-tasks/long/run-sync", timeout=timeout)
    message = refused(reply, 408, "run-timeout-exceeded")
    run_id = message.rpartition("run ID: ")[2].rstrip(")")
    assert (await api.get(f"/v2/actor-runs/{run_id}")).json()["data"]["status"] == "RUNNING"
    await api.post(f"/v2/actor-runs/{run_id}/abort")


async def test_run_sync_of_a_run_that_fails(api: Client) -> None:
    message = refused(await api.post("/v2/acts/raise/run-sync", {}), 400, "run-failed")
    assert "status: FAILED" in message
    refused(await api.post("/v2/acts/raise/run-sync-get-dataset-items", {}), 400, "run-failed")
    message = refused(await api.post("/v2/acts/sleep/run-sync?timeout=1", {"ms": 60_000}), 400, "run-failed")
    assert "status: TIMED-OUT" in message


# --- views ---


async def test_a_view_of_the_default_dataset(api: Client) -> None:
    run = await start(api, "/v2/acts/echo/runs?waitForFinish=5", {"payload": "viewed"})
    path = "/v2/datasets/default/items?view=overview&desc=1&limit=1"
    deadline = time.monotonic() + 10
    while not (rows := (await api.get(path)).json()) or rows[0]["jobId"] != run["id"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert rows[0]["task"] == {"type": "echo", "payload": "viewed"}
    assert set(rows[0]) == ROW_FIELDS
    narrower = await api.get(f"{path}&fields=jobId,attempt&format=csv&bom=0")
    assert narrower.body == f"jobId,attempt\n{run['id']},1\n".encode()
    error = "requested-dataset-view-does-not-exist"
    assert "overview" in refused(await api.get("/v2/datasets/default/items?view=nope"), 400, error)
    refused(await api.get(f"/v2/datasets/{run['id']}/items?view=overview"), 400, error)
    total = (await api.get("/v2/actor-runs")).json()["data"]["total"]
    refused(await api.post("/v2/acts/echo/run-sync-get-dataset-items?view=overview", {}), 400, error)
    assert (await api.get("/v2/actor-runs")).json()["data"]["total"] == total


# --- presets with references ---


@pytest.mark.parametrize(
    ("preset", "given", "output"),
    [
        ("of-a-push", {"repository": {"name": "demo"}}, {"payload": ["demo", None]}),
        ("of-a-push", {"payload": "direct"}, {"payload": "direct"}),
        ("of-a-push", None, {"payload": [None, None]}),
        ("whole", {"type": "push", "commits": [1]}, {"payload": {"type": "push", "commits": [1]}}),
        ("timed", {"ms": 2, "limit": 5000}, {"ms": 2}),
        ("optional", {"options": {"priority": 1}}, {"ms": 1}),
    ],
)
async def test_references_take_from_the_input(
    api: Client, preset: str, given: Any, output: dict[str, Any]
) -> None:
    path = f"/v2/actor-tasks/{preset}"
    reply = await api.post(f"{path}/run-sync", given, headers={"X-Sender": "me"})
    assert reply.status == 201, reply.body
    assert output.items() <= reply.json().items()
    check("TaskResponse", (await api.get(path)).json())


async def test_input_that_no_reference_takes_must_be_valid(api: Client) -> None:
    for preset, given in (
        ("of-a-push", {"repo": 1}),
        ("timed", {"ms": "soon", "limit": 5}),
        ("optional", {"options": 5}),
    ):
        refused(await api.post(f"/v2/actor-tasks/{preset}/runs", given), 400, "invalid-input")


# --- requests ---


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b"", "application/json", None),
        (b"", "application/x-www-form-urlencoded", None),
        (b"null", "application/json", None),
        (b"{}", "application/json; charset=utf-8", None),
        (gzip.compress(PADDED, mtime=0), "application/json", "gzip"),
        (brotli.compress(PADDED), "application/json", "br"),
    ],
)
async def test_every_body_that_clients_send(
    api: Client, body: bytes, content_type: str, encoding: str | None
) -> None:
    headers = {"Content-Type": content_type, **({"Content-Encoding": encoding} if encoding else {})}
    reply = await api.post("/v2/actor-tasks/greet/runs?waitForFinish=5", data=body, headers=headers)
    assert reply.status == 201, reply.body
    run = reply.json()["data"]
    output = await api.get(f"/v2/key-value-stores/{run['id']}/records/OUTPUT")
    assert output.json()["payload"] == {"hello": "world"}


async def test_a_bomb_is_refused(api: Client) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    reply = await api.post(
        "/v2/acts/echo/runs",
        data=bomb,
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    refused(reply, 413, "request-too-large")


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("1", "0")])
async def test_booleans_come_as_words_or_digits(api: Client, yes: str, no: str) -> None:
    run = await start(api, f"/v2/acts/many/runs?waitForFinish=5&restartOnError={yes}", {"items": 2})
    assert run["options"]["restartOnError"]
    items = await api.get(f"/v2/datasets/{run['id']}/items?desc={yes}&clean={no}&attachment={yes}")
    assert items.json() == [{"number": 1}, {"number": 0}]
    assert items.headers["X-Apify-Pagination-Desc"] == "true"
    assert items.headers["Content-Disposition"] == f'attachment; filename="dataset_{run["id"]}.json"'


async def test_the_method_can_come_by_query(api: Client) -> None:
    reply = await api.get("/v2/acts/echo/runs?method=POST&waitForFinish=5")
    assert check("RunResponse", reply.json())["data"]["status"] == "SUCCEEDED"
    refused(await api.get("/v2/acts/echo/runs?method=TRACE"), 400, "invalid-parameter")


async def test_pagination_headers_also_by_head(api: Client) -> None:
    run = await start(api, "/v2/acts/many/runs?waitForFinish=5", {"items": 7})
    path = f"/v2/datasets/{run['id']}/items?offset=5&limit=10"
    for method in ("GET", "HEAD"):
        reply = await api.request(method, path)
        assert reply.status == 200
        names = ("Total", "Offset", "Limit", "Count", "Desc")
        found = [reply.headers[f"X-Apify-Pagination-{name}"] for name in names]
        assert found == ["7", "5", "10", "2", "false"]
        assert bool(reply.body) == (method == "GET")


@pytest.mark.parametrize(
    ("item_format", "content_type"),
    [
        ("json", "application/json"),
        ("jsonl", "application/jsonl"),
        ("csv", "text/csv"),
        ("html", "text/html"),
        ("xml", "application/xml"),
        ("rss", "application/rss+xml"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ],
)
async def test_formats_and_records_run_nothing_in_a_browser(
    api: Client, item_format: str, content_type: str
) -> None:
    run = await start(api, "/v2/actor-tasks/crawl-five/runs?waitForFinish=5")
    for path in (
        f"/v2/actor-runs/{run['id']}/dataset/items?format={item_format}",
        f"/v2/actor-runs/{run['id']}/key-value-store/records/page.html",
    ):
        reply = await api.get(path)
        assert reply.headers["Content-Security-Policy"] == "sandbox"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    reply = await api.get(f"/v2/datasets/{run['id']}/items?format={item_format}")
    assert reply.headers["Content-Type"].split(";")[0] == content_type


async def test_a_large_dataset_leaves_the_service_responsive(api: Client) -> None:
    run = await start(api, "/v2/acts/many/runs?waitForFinish=20", {"items": 50_000})
    assert run["status"] == "SUCCEEDED"
    export = asyncio.create_task(api.get(f"/v2/datasets/{run['id']}/items?format=xlsx"))
    slowest = 0.0
    while not export.done():
        started = time.perf_counter()
        assert (await api.get("/v2/users/me")).status == 200
        slowest = max(slowest, time.perf_counter() - started)
    assert (await export).status == 200
    assert slowest < 1


# --- refusals ---


async def test_refusals(api: Client) -> None:
    refused(await api.get("/v2/actor-runs/nope"), 404, "record-not-found")
    refused(await api.get("/v2/acts/nope"), 404, "record-not-found")
    refused(await api.post("/v2/acts/nope/runs", {}), 404, "record-not-found")
    refused(await api.get("/v2/actor-tasks/nope/runs/last"), 404, "record-not-found")
    refused(await api.get("/v2/acts/span/runs/last"), 404, "record-not-found")
    refused(await api.get("/v2/datasets/nope/items"), 404, "record-not-found")
    refused(await api.get("/v2/key-value-stores/default/records/INPUT"), 404, "record-not-found")
    refused(await api.get("/v2/nope"), 404, "page-not-found")
    refused(await api.get("/v2/"), 404, "page-not-found")
    refused(await api.get("/v2/datasets"), 501, "not-implemented")
    refused(await api.post("/v2/datasets/default/items", []), 501, "not-implemented")
    refused(await api.request("PUT", "/v2/actor-tasks/greet/input"), 501, "not-implemented")
    refused(await api.get("/v2/actor-runs/x/request-queue/requests"), 501, "not-implemented")
    reply = await api.request("PATCH", "/v2/actor-runs/nope")
    refused(reply, 405, "method-not-allowed")
    assert "GET" in reply.headers["Allow"]
    refused(await api.post("/v2/acts/echo/runs", data=b"a=1"), 415, "invalid-content-type-header")
    refused(
        await api.post("/v2/acts/echo/runs", data=b"{", headers={"Content-Type": "application/json"}),
        400,
        "run-input-body-not-valid-json",
    )
    refused(await api.post("/v2/acts/echo/runs", {"type": "sleep"}), 400, "invalid-input")
    refused(await api.post("/v2/acts/echo/runs?memory=100", {}), 400, "invalid-parameter")
    refused(await api.post("/v2/acts/echo/runs?webhooks=%25", {}), 400, "invalid-parameter")
    refused(await api.get("/v2/actor-runs?status=DONE"), 400, "invalid-parameter")
    for wrong in ("limit=-1", "offset=1e30", "limit=nan", "bom=x", "attachment=x", "desc=x"):
        refused(await api.get(f"/v2/datasets/default/items?{wrong}"), 400, "invalid-parameter")
    for wrong in ("offset=1e30", "limit=inf"):
        refused(await api.get(f"/v2/actor-runs?{wrong}"), 400, "invalid-parameter")


async def test_refusals_of_strangers(service: Service) -> None:
    async with service.client() as stranger:
        refused(await stranger.get("/v2/users/me"), 401, "token-not-provided")
        refused(await stranger.get("/v2/nope"), 401, "token-not-provided")
        for headers in ({"Authorization": "Bearer wrong"}, {"X-Api-Key": "wrong"}):
            refused(await stranger.get("/v2/users/me", headers=headers), 401, "user-or-token-not-found")
        refused(await stranger.get("/v2/users/me?token=wrong"), 401, "user-or-token-not-found")
        reply = await stranger.get(f"/v2/users/me?token={TOKEN}")
        assert reply.status == 200


async def test_without_a_token_no_foreign_page_starts_runs(make: Factory) -> None:
    service = await make({}).start()
    async with service.client() as client:
        foreign = {"Sec-Fetch-Site": "cross-site"}
        for path in ("/v2/acts/echo/run-sync", "/v2/acts/echo/runs?method=POST"):
            refused(await client.get(path, headers=foreign), 403, "insufficient-permissions")
            assert (await client.get(path)).status == 201
        assert (await client.get("/v2/actor-runs", headers=foreign)).json()["data"]["total"] == 2


# --- timeouts ---


async def test_the_timeout_of_all_jobs_is_shown_like_their_own(make: Factory) -> None:
    service = await make({"jobTimeoutMs": 300}).start()
    async with service.client() as api:
        run = await start(api, "/v2/acts/slow-cleanup/runs", {"ms": 2000})
        assert run["options"]["timeoutSecs"] == 1
        statuses = []
        while not statuses or statuses[-1] != "TIMED-OUT":
            run = (await api.get(f"/v2/actor-runs/{run['id']}?waitForFinish=0.3")).json()["data"]
            listed = (await api.get("/v2/acts/slow-cleanup/runs")).json()["data"]["items"][0]["status"]
            statuses += [run["status"], listed]
        assert sorted(set(statuses), key=statuses.index)[-2:] == ["TIMING-OUT", "TIMED-OUT"]


async def test_a_timeout_can_be_less_than_a_second(api: Client) -> None:
    started = time.monotonic()
    run = await start(api, "/v2/acts/sleep/runs?timeout=0.2&waitForFinish=5", {"ms": 4000})
    assert run["status"] == "TIMED-OUT"
    assert time.monotonic() - started < 3


# --- webhooks ---


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://example.com/", "https://user:password@example.com/", None]
)
async def test_a_webhook_that_could_not_be_sent_starts_no_run(api: Client, url: str | None) -> None:
    webhook = {"eventTypes": ["ACTOR.RUN.SUCCEEDED"]} | ({} if url is None else {"requestUrl": url})
    encoded = base64.b64encode(json.dumps([webhook]).encode()).decode()
    total = (await api.get("/v2/actor-runs")).json()["data"]["total"]
    for path in ("acts/echo/runs", "actor-tasks/greet/runs", "acts/echo/run-sync"):
        reply = await api.post(f"/v2/{path}", {}, params={"webhooks": encoded})
        assert "password" not in refused(reply, 400, "invalid-parameter")
    assert (await api.get("/v2/actor-runs")).json()["data"]["total"] == total


async def test_ad_hoc_webhooks(api: Client) -> None:
    received: asyncio.Queue[tuple[dict[str, str], Any]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait((dict(request.headers), await request.json()))
        return web.Response()

    receiver = web.Application()
    receiver.router.add_post("/hook", receive)
    async with TestServer(receiver) as server:
        url = str(server.make_url("/hook"))
        webhooks = [
            {
                "eventTypes": ["ACTOR.RUN.CREATED", "ACTOR.RUN.TIMED_OUT", "ACTOR.RUN.RESURRECTED"],
                "requestUrl": url,
            },
            {
                "eventTypes": ["ACTOR.RUN.TIMED_OUT"],
                "requestUrl": url,
                "payloadTemplate": '{"text": "{{resource.id}} {{resource.status}}", "event": {{eventType}}}',
                "headersTemplate": '{"Authorization": "Bearer {{userId}}"}',
                "shouldInterpolateStrings": True,
            },
        ]
        encoded = base64.b64encode(json.dumps(webhooks).encode()).decode()
        run = await start(api, "/v2/actor-tasks/long/runs", params={"timeout": "1", "webhooks": encoded})
        headers, created = await asyncio.wait_for(received.get(), 10)
        assert created["eventType"] == "ACTOR.RUN.CREATED"
        assert created["eventData"] == {"actorId": "sleep", "actorTaskId": "long", "actorRunId": run["id"]}
        check("RunResponse", {"data": created["resource"]})
        assert headers["X-Apify-Webhook-Dispatch-Id"]
        assert {name for name in headers if name.startswith("X-Apify-")} >= {
            "X-Apify-Webhook",
            "X-Apify-Request-Origin",
        }
        ended = [await asyncio.wait_for(received.get(), 10) for _ in range(2)]
        [plain] = [payload for _, payload in ended if "resource" in payload]
        assert (plain["eventType"], plain["resource"]["status"]) == ("ACTOR.RUN.TIMED_OUT", "TIMED-OUT")
        [(headers, custom)] = [(headers, payload) for headers, payload in ended if "text" in payload]
        assert custom == {"text": f"{run['id']} TIMED-OUT", "event": "ACTOR.RUN.TIMED_OUT"}
        assert headers["Authorization"] == "Bearer local"
        await api.post(f"/v2/actor-runs/{run['id']}/resurrect")
        _, resurrected = await asyncio.wait_for(received.get(), 10)
        assert resurrected["eventType"] == "ACTOR.RUN.RESURRECTED"
        assert resurrected["eventData"]["actorRunId"] == run["id"]
        await api.post(f"/v2/actor-runs/{run['id']}/abort")


async def test_secrets_of_webhooks_are_shown_nowhere(api: Client) -> None:
    webhooks = [
        {
            "eventTypes": ["ACTOR.RUN.SUCCEEDED"],
            "requestUrl": "http://127.0.0.1:9/hook?key=s3cr3t-in-url",
            "headersTemplate": '{"Authorization": "s3cr3t-in-header"}',
        }
    ]
    encoded = base64.b64encode(json.dumps(webhooks).encode()).decode()
    run = await start(
        api, "/v2/acts/echo/runs", {"payload": 1}, params={"webhooks": encoded, "waitForFinish": 5}
    )
    for path in (
        f"/v2/actor-runs/{run['id']}",
        f"/v2/key-value-stores/{run['id']}/records/INPUT",
        f"/v2/logs/{run['id']}",
        f"/tasks/{run['id']}",
        f"/tasks/{run['id']}/webhooks",
        f"/tasks/{run['id']}/events",
    ):
        reply = await api.get(path)
        assert reply.status == 200, path
        assert b"s3cr3t" not in reply.body, path


# --- resurrection ---


async def test_a_resurrection_sent_twice_happens_once(api: Client) -> None:
    run = await start(api, "/v2/acts/sleep/runs?waitForFinish=5", {"ms": 1})
    path = f"/v2/actor-runs/{run['id']}/resurrect"
    replies = await asyncio.gather(*(api.post(path) for _ in range(5)))
    assert {reply.status for reply in replies} <= {200, 400}
    counts = [reply.json()["data"]["stats"]["resurrectCount"] for reply in replies if reply.status == 200]
    assert 1 in counts
    assert max(counts) <= len(counts)
    assert (await api.get("/v2/acts/sleep/runs?desc=1&limit=1")).json()["data"]["items"][0]["id"] == run["id"]


async def test_a_resurrection_has_parameters_of_its_own(make: Factory) -> None:
    service = await make(SETTINGS, env=ENV).start()
    async with service.client({"Authorization": f"Bearer {TOKEN}"}) as api:
        run = await start(api, "/v2/acts/sleep/runs?waitForFinish=5", {"ms": 1})
        query = "timeout=77&restartOnError=1&memory=256&build=beta"
        assert (await api.post(f"/v2/actor-runs/{run['id']}/resurrect?{query}")).status == 200
        await api.get(f"/v2/actor-runs/{run['id']}?waitForFinish=5")
        service.kill_sync()
        await service.start()
        options = (await api.get(f"/v2/actor-runs/{run['id']}")).json()["data"]["options"]
        wanted = {"timeoutSecs": 77, "restartOnError": True, "memoryMbytes": 256, "build": "beta"}
        assert wanted.items() <= options.items()
        reply = await api.post(f"/v2/actor-runs/{run['id']}/resurrect?timeout=1e12")
        refused(reply, 400, "invalid-input")


async def test_the_last_run_of_an_origin(api: Client) -> None:
    hooked = (await api.post("/hooks/whole", {"a": 1})).json()["jobId"]
    path = "/v2/actor-tasks/whole/runs/last"
    await start(api, "/v2/actor-tasks/whole/runs", {})
    run = (await api.get(f"{path}?origin=WEBHOOK")).json()["data"]
    assert (run["id"], run["meta"]["origin"]) == (hooked, "WEBHOOK")
    assert (await api.get(f"{path}?origin=API&status=")).json()["data"]["id"] != hooked
    refused(await api.get(f"{path}/dataset?origin=SCHEDULER"), 404, "record-not-found")


async def test_both_apis_show_the_same_job(api: Client) -> None:
    job_id = await api.submit({"type": "sleep", "ms": 600_000})
    run = (await api.get(f"/v2/actor-runs/{job_id}")).json()["data"]
    assert (run["id"], run["status"], run["actId"]) == (job_id, "RUNNING", "sleep")
    await api.delete(f"/tasks/{job_id}")
    assert (await api.get(f"/v2/actor-runs/{job_id}")).json()["data"]["status"] == "ABORTED"


async def test_a_stream_of_the_log_ends_with_the_run(api: Client) -> None:
    run = await start(api, "/v2/acts/talker/runs", {"lines": 3, "pause_ms": 300})
    timeout = aiohttp.ClientTimeout(20)
    async with api.session.get(f"/v2/logs/{run['id']}?stream=1", timeout=timeout) as response:
        seen = [time.perf_counter() async for line in response.content if b"INFO line" in line]
    assert len(seen) == 3
    assert seen[-1] - seen[0] > 0.3
