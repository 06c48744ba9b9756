"""Webhooks in and presets, at the real process."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest

from async_endpoint.outbound.signing import decode_secret, signed_headers
from tests.acceptance.service import TOKEN, Service

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = "its-a-surprise"
PRESETS = {
    "greet": {"payload": {"name": "{{body.name}}"}},
    "raw": {},
    "nap": {"type": "sleep", "ms": "{{body.ms}}", "options": {"priority": 5}},
    "deploy": {
        "payload": {"ref": "{{body.ref}}", "event": "{{headers.x-github-event}}"},
        "verify": {"scheme": "github", "secret": SECRET},
    },
    "pay": {"verify": {"scheme": "stripe", "secret": SECRET}},
    "std": {"verify": {"scheme": "standard-webhooks", "secret": WHSEC}},
    "own": {"verify": {"scheme": "hmac-sha256", "secret": SECRET, "header": "X-Sign", "encoding": "hex"}},
}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="session")
def hooked(tmp_path_factory):
    """A service with the presets above and an access token."""
    service = Service(tmp_path_factory.mktemp("hooked"), {"accessToken": TOKEN, "presets": PRESETS})
    try:
        yield service.launch_until_ready()
    finally:
        service.kill_sync()


@pytest.fixture
async def http(hooked):
    async with hooked.client() as client:
        yield client


def digest(body):
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


async def finished(http, reply):
    """Snapshot of the job that a hook started."""
    assert reply.status == 202, reply.body
    path = f"/tasks/{reply.json()['jobId']}/wait"
    return (await http.post(path, headers=BEARER)).json()


async def test_the_names_of_presets_are_listed_and_nothing_else_of_them(http):
    discovery = (await http.get("/", headers=BEARER)).json()
    assert sorted(discovery["presets"]) == sorted(PRESETS)
    assert SECRET not in json.dumps(discovery)


async def test_a_preset_runs_with_parts_of_the_request(http):
    job = await finished(http, await http.post("/hooks/greet", {"name": "Ada"}, headers=BEARER))
    assert job["result"]["payload"] == {"name": "Ada"}
    job = await finished(http, await http.post("/hooks/nap", {"ms": 3}, headers=BEARER))
    assert job["result"] == {"taskType": "sleep", "ms": 3}
    assert job["task"]["options"] == {"priority": 5}


async def test_curl_without_a_content_type_and_the_token_in_the_query_is_enough(http):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    job = await finished(
        http, await http.post(f"/hooks/raw?token={TOKEN}&a=1", data=b'{"x":1}', headers=form)
    )
    payload = job["result"]["payload"]
    assert (payload["body"], payload["query"]) == ({"x": 1}, {"a": "1"})
    assert payload["contentType"] == form["Content-Type"]


async def test_a_reference_that_the_task_cannot_use_is_told(http):
    reply = await http.post("/hooks/nap", {"ms": "soon"}, headers=BEARER)
    assert reply.problem(400, "invalid-task")["errors"][0]["path"] == "ms"


async def test_every_scheme_lets_its_sender_in_without_a_token(http):
    body, now = b'{"ref": "main"}', int(time.time())
    stripe = f"t={now},v1={digest(str(now).encode() + b'.' + body)},v0=abc"
    senders = {
        "deploy": {"X-Hub-Signature-256": f"sha256={digest(body)}", "X-GitHub-Event": "push"},
        "pay": {"Stripe-Signature": stripe},
        "std": signed_headers(decode_secret(WHSEC), "msg_1", now, body),
        "own": {"X-Sign": digest(body)},
    }
    jobs = {
        preset: await finished(http, await http.post(f"/hooks/{preset}", data=body, headers=headers))
        for preset, headers in senders.items()
    }
    assert jobs["deploy"]["result"]["payload"] == {"ref": "main", "event": "push"}
    for preset, headers in senders.items():
        task = json.dumps(jobs[preset]["task"])
        assert not [value for name, value in headers.items() if "ign" in name and value in task]
        (await http.post(f"/hooks/{preset}", data=body + b" ", headers=headers)).problem(
            401, "invalid-signature"
        )
        (await http.post(f"/hooks/{preset}", data=body, headers=BEARER)).problem(401, "invalid-signature")


async def test_an_old_signature_is_refused(http):
    headers = signed_headers(decode_secret(WHSEC), "msg_old", int(time.time()) - 301, b"{}")
    (await http.post("/hooks/std", data=b"{}", headers=headers)).problem(401, "invalid-signature")


async def test_a_delivery_that_comes_twice_is_one_job_also_across_a_kill(make):
    service = await make({"presets": PRESETS}).start()
    headers = {"X-Hub-Signature-256": f"sha256={digest(b'{}')}", "X-GitHub-Delivery": "72d3162e"}
    async with service.client() as http:
        first = await http.post("/hooks/deploy", data=b"{}", headers=headers)
        await service.restart()
        again = await http.post("/hooks/deploy", data=b"{}", headers={**headers, "Traceparent": "00-other"})
    assert [first.status, again.status] == [202, 202]
    assert first.json()["jobId"] == again.json()["jobId"]
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_without_verify_the_token_is_needed(http):
    for preset in ("greet", "nope"):
        (await http.post(f"/hooks/{preset}", {})).problem(401, "unauthorized")
    (await http.post("/hooks/nope", {}, headers=BEARER)).problem(404, "preset-not-found")
    assert (await http.get("/hooks/greet", headers=BEARER)).status == 405


async def test_no_secret_of_a_hook_is_kept(make):
    service = await make({"accessToken": TOKEN, "presets": PRESETS}).start()
    headers = {
        "Cookie": "a=biscuit-1",
        "X-Gitlab-Token": "biscuit-2",
        "Proxy-Authorization": "Basic biscuit-3",
    }
    signed = {"X-Sign": digest(b'{"a":1}'), "Authorization": "Bearer biscuit-4", "X-Api-Key": "biscuit-5"}
    async with service.client(BEARER) as http:
        for sent, path in ((headers, f"/hooks/raw?token={TOKEN}"), (signed, "/hooks/own")):
            reply = await http.post(path, data=b'{"a":1}', headers=sent)
            job = await http.finished(reply.json()["jobId"])
            assert job["result"]["payload"]["body"] == {"a": 1}
        rows = str(await service.rows_when(2))
        shown = json.dumps(await http.all_jobs())
    assert await service.terminate() == 0
    store = b"".join(path.read_bytes() for path in service.storage.glob("jobs.sqlite*")).decode(
        errors="replace"
    )
    for text in (rows, shown, store, service.log):
        assert not [word for word in ("biscuit", SECRET, TOKEN, signed["X-Sign"]) if word in text]


@pytest.mark.parametrize(
    ("presets", "names"),
    [
        ({"good": {}, "bad-type": {"type": "nope"}}, ["bad-type", "type"]),
        ({"nap": {"type": "sleep"}}, ["nap", "ms"]),
        ({"pick": {"type": "{{body.type}}"}}, ["pick", "type"]),
        ({"wh": {"verify": {"scheme": "rsa", "secret": SECRET}}}, ["wh", "verify"]),
        ({"wh": {"verify": {"scheme": "github"}}}, ["wh", "verify.secret"]),
        ({"hook": {"options": {"webhooks": [{"url": "ftp://x"}]}}}, ["hook", "options.webhooks.0.url"]),
        ({"no spaces": {}}, ["no spaces"]),
    ],
)
async def test_a_bad_preset_ends_the_process_and_is_named(make, presets, names):
    service = make({"presets": presets})
    service.launch()
    assert await service.wait(30) == 1
    last = service.log.strip().splitlines()[-1]
    assert not [name for name in names if name not in last], service.log
    assert "Traceback" not in service.log
    assert SECRET not in service.log
    assert not (service.storage / "jobs.sqlite").exists()


async def test_what_no_job_can_hold_as_json_is_a_text(hooked: Service):
    async with hooked.client(BEARER) as http:
        for body in ('{"a":1e999}', '{"a":NaN}', "[" * 151 + "]" * 151):
            reply = await http.post("/hooks/raw", data=body, headers={"Content-Type": "application/json"})
            assert reply.status == 202, reply.json()
            done = await http.finished(reply.json()["jobId"])
            assert body in json.dumps(done["task"]).replace('\\"', '"')
