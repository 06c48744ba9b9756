"""Who gets in, by which credential, and what the others are told."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.acceptance.raw import exchange
from tests.acceptance.service import TOKEN, Client, Reply, Service

PROTECTED = [
    ("GET", "/"),
    ("POST", "/tasks"),
    ("GET", "/tasks"),
    ("POST", "/tasks/batch"),
    ("GET", "/tasks/00000000-0000-7000-8000-000000000000"),
    ("DELETE", "/tasks/00000000-0000-7000-8000-000000000000"),
    ("POST", "/tasks/x/wait"),
    ("POST", "/tasks/x/cancel"),
    ("POST", "/tasks/x/replay"),
    ("GET", "/tasks/x/events"),
    ("POST", "/run-and-wait"),
    ("GET", "/events"),
    ("GET", "/metrics"),
    ("GET", "/no/such/path"),
    ("PUT", "/tasks"),
    ("PROPFIND", "/pot"),
]


@pytest.fixture
async def door(guarded: Service):
    """A client without credentials of its own."""
    async with guarded.client() as client:
        yield client


def unauthorized(reply: Reply) -> None:
    reply.problem(401)
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN.encode() not in reply.body


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_without_token_everything_else_is_401(door: Client, method: str, path: str):
    unauthorized(await door.request(method, path))


async def test_every_operation_that_the_document_does_not_call_open_is_401(door: Client):
    document = (await door.get("/openapi.json")).json()
    openly = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["security"]:
                unauthorized(
                    await door.request(method.upper(), path.translate({ord("{"): None, ord("}"): None}))
                )
            else:
                openly.add(path)
    assert openly == {"/health", "/ready", "/openapi.json"}


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json"])
async def test_open_routes_need_no_token(door: Client, path: str):
    assert (await door.get(path)).status == 200


async def test_the_readiness_probe_needs_no_token(door: Client):
    reply = await door.get("/", headers={"x-apify-container-server-readiness-probe": "1"})
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_bearer_in_any_case(door: Client, scheme: str):
    assert (await door.get("/tasks", headers={"Authorization": f"{scheme} {TOKEN}"})).status == 200


async def test_api_key_and_query(door: Client):
    assert (await door.get("/tasks", headers={"X-Api-Key": TOKEN})).status == 200
    assert (await door.get(f"/tasks?token={TOKEN}")).status == 200
    assert (await door.post(f"/run-and-wait?token={TOKEN}", {"payload": 1})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": ""},
        {"X-Api-Key": "wrong"},
        {"X-Api-Key": f"Bearer {TOKEN}"},
        {"X-Api-Key": "wrong", "Authorization": f"Bearer {TOKEN}"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
async def test_wrong_credentials(door: Client, headers: dict[str, str]):
    unauthorized(await door.get("/tasks", headers=headers))


@pytest.mark.parametrize("query", ["token=", "token=wrong", f"Token={TOKEN}", f"token={TOKEN}x"])
async def test_wrong_query_tokens(door: Client, query: str):
    unauthorized(await door.get(f"/tasks?{query}"))


async def test_api_key_alone_decides(door: Client):
    right = {"X-Api-Key": TOKEN}
    assert (
        await door.get("/tasks", headers={**right, "Authorization": "Bearer of-someone-else"})
    ).status == 200
    assert (await door.get("/tasks", headers={**right, "Authorization": "Basic abc"})).status == 200
    assert (await door.get("/tasks?token=wrong", headers=right)).status == 200
    unauthorized(await door.get(f"/tasks?token={TOKEN}", headers={"X-Api-Key": "wrong"}))


async def test_tokens_that_differ_are_400(door: Client):
    right = {"Authorization": f"Bearer {TOKEN}"}
    (await door.get("/tasks?token=wrong", headers=right)).problem(400)
    (await door.get(f"/tasks?token={TOKEN}", headers={"Authorization": "Bearer wrong"})).problem(400)
    (await door.get("/tasks?token=a", headers={"Authorization": "Bearer b"})).problem(400)
    assert (await door.get(f"/tasks?token={TOKEN}", headers=right)).status == 200
    unauthorized(await door.get("/tasks?token=same", headers={"Authorization": "Bearer same"}))


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization: Bearer \xff\xfe",
        b"X-Api-Key: \xc3\xa4\xff",
        b"Authorization: Bearer \xe2\x9c\x93",
        b"Authorization: \xff",
    ],
)
async def test_raw_bytes_are_just_wrong(guarded: Service, header: bytes):
    raw = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + header + b"\r\n\r\n"
    assert await exchange(guarded.port, raw) == 401


@pytest.mark.parametrize("query", ["token=%ff%fe", "token=%E2%9C%93", "token=%00"])
async def test_raw_bytes_in_the_query_are_just_wrong(guarded: Service, query: str):
    raw = f"GET /tasks?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    assert await exchange(guarded.port, raw) == 401


async def test_a_token_beyond_ascii(make):
    token = "schlüssel-✓"
    service = await make({"accessToken": token}).start()
    async with service.client() as http:
        assert (await http.get("/tasks", params={"token": token})).status == 200
        (await http.get("/tasks", params={"token": "schlussel"})).problem(401)
    head = b"GET /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    for name in (b"Authorization: Bearer ", b"X-Api-Key: "):
        assert await exchange(service.port, head + name + token.encode() + b"\r\n\r\n") == 200
        assert await exchange(service.port, head + name + b"schl\xfcssel\r\n\r\n") == 401


async def test_a_stranger_is_told_401_whatever_else_is_wrong(door: Client):
    unauthorized(await door.post("/tasks", data=b"{", headers={"Content-Type": "application/json"}))
    unauthorized(await door.post("/tasks", data=b"x", headers={"Content-Type": "text/plain"}))
    unauthorized(
        await door.post("/tasks", data=b" " * 3_000_000, headers={"Content-Type": "application/json"})
    )
    unauthorized(await door.get("/tasks?limit=abc"))
    unauthorized(await door.post("/tasks", {"type": "nope"}))


async def test_foreign_origins_are_fine_with_the_token(door: Client):
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://elsewhere.example"}
    assert (await door.get("/tasks", headers=headers)).status == 200


async def test_with_a_token_it_listens_on_every_address(guarded: Service):
    address = _own_address()
    reader, writer = await asyncio.open_connection(address, guarded.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % address.encode())
    assert b" 200 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_without_a_token_it_listens_on_loopback_only(shared: Service):
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        await asyncio.open_connection(_own_address(), shared.port)


def _own_address() -> str:
    """An address of this machine that is not loopback; the connect sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


# -- no token set ---


async def test_without_a_token_credentials_are_ignored(http: Client):
    headers = {"Authorization": "Bearer anything", "X-Api-Key": "else"}
    assert (await http.get("/tasks?token=third", headers=headers)).status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil.example:80", "null", "http://127.0.0.1:1", "garbage"]
)
async def test_a_foreign_origin_is_refused(http: Client, origin: str):
    before = (await http.get("/tasks?limit=1")).json()["items"]
    (await http.post("/tasks", {}, headers={"Origin": origin})).problem(403)
    (await http.get("/tasks", headers={"Origin": origin})).problem(403)
    assert (await http.get("/tasks?limit=1")).json()["items"] == before


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost.evil.example"]
)
async def test_a_foreign_host_is_refused(http: Client, shared: Service, host: str):
    headers = {"Host": host.format(port=shared.port)}
    (await http.post("/tasks", {}, headers=headers)).problem(403)
    (await http.get("/tasks", headers=headers)).problem(403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_its_own_names_are_not_foreign(http: Client, shared: Service, host: str):
    headers = {"Host": f"{host}:{shared.port}", "Origin": f"http://{host.lower()}:{shared.port}"}
    assert (await http.post("/tasks", {}, headers=headers)).status == 202
