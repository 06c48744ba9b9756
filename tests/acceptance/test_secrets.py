"""The token and query strings are in nothing that the service writes."""

from __future__ import annotations

from tests.acceptance.raw import exchange
from tests.acceptance.service import TOKEN


async def test_the_token_is_nowhere(make):
    service = await make({"accessToken": TOKEN}).start()
    async with service.client() as http:
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"X-Api-Key": TOKEN}):
            reply = await http.post("/run-and-wait", {"payload": 1}, headers=headers)
            assert reply.status == 200
            job = reply.json()
        texts = [
            (await http.get(f"/tasks?token={TOKEN}&marker=in-the-query")).body,
            (await http.get(f"/no/such/path?token={TOKEN}")).body,
            (await http.get(f"/tasks/{job['jobId']}/events?token={TOKEN}")).body,
            (await http.get(f"/tasks?token={TOKEN}", headers={"Authorization": "Bearer other"})).body,
            (await http.post(f"/tasks?token={TOKEN}", {"type": "nope"})).body,
            (await http.get(f"/?token={TOKEN}")).body,
            (await http.get("/openapi.json")).body,
            (await http.get(f"/metrics?token={TOKEN}")).body,
            (await http.get("/health")).body,
        ]
    raw = f"GET /tasks?token={TOKEN} HTTP/9.9\r\nAuthorization: Bearer {TOKEN}\r\nbad header {TOKEN}\r\n\r\n"
    await exchange(service.port, raw.encode())
    assert await service.terminate() == 0
    texts += [str(service.rows()).encode(), service.log.encode()]
    texts += [path.read_bytes() for path in service.storage.glob("jobs.sqlite*")]
    assert not any(TOKEN.encode() in text for text in texts)
    assert "/tasks" in service.log, "there is an access log"
    assert "in-the-query" not in service.log


async def test_control_characters_of_strangers_are_not_in_the_log(shared):
    for line in (
        "GET /%1b[31mred HTTP/1.1",
        "GET /\x1b[31mred HTTP/1.1",
        "GET /tasks HTTP/1.1\r\nOrigin: \x1b[31mred",
    ):
        raw = f"{line}\r\nHost: 127.0.0.1:{shared.port}\r\nConnection: close\r\n\r\n"
        await exchange(shared.port, raw.encode())
    assert "\x1b[31mred" not in shared.log


async def test_job_payloads_are_not_logged(http, shared):
    await http.run({"payload": "private-words-of-a-caller"})
    assert "private-words-of-a-caller" not in shared.log
