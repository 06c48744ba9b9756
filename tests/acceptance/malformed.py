"""Requests that no service should accept, made at random but the same for the same seed.

Each is the bytes of one request. Whatever the answer, it must not be a 5xx, and no job may come of it.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = b"Content-Type: application/json\r\n"
SUBMITS = (b"/tasks", b"/run-and-wait?timeoutMs=100")
BAD_VALUES: tuple[Any, ...] = (
    None,
    "x",
    -1,
    1.5,
    [],
    {},
    [[]],
    "1",
    -(2**63),
    2**70,
    1e308,
    True,
    "\x00",
    {"a": {}},
)
BAD_JSON = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"'a'",
    b"undefined",
    b"\\u0000",
    b'"\\ud800"',
    b'"\\x"',
    b'"\x01"',
    b'"\xff"',
    b'"\xc0\xaf"',
    b"[" * 70_000,
    b'{"a":' * 20_000,
    b"[1,]",
    b"{,}",
    b"tru",
    b"\xef\xbb\xbf",
    b"//c",
    b"9" * 6000,
)
WEIRD_NAMES = (
    b"",
    b" ",
    b"a b",
    b"a\x00b",
    b"\xff",
    b"(x)",
    b"a:b\x01",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Host",
)
JOB = b"/tasks/0199a000-0000-7000-8000-000000000000"


def malformed(count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` malformed requests."""
    chance = random.Random(seed)
    kinds = (
        _bad_json,
        _bad_task,
        _bad_option,
        _bad_headers,
        _bad_framing,
        _bad_query,
        _bad_method,
        _bad_path,
        _noise,
        _bad_batch,
        _bad_key,
        _mutated,
    )
    for number in range(count):
        yield kinds[number % len(kinds)](chance)


def request(method: bytes, target: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s%s\r\n%s" % (
        method,
        target,
        headers,
        length,
        body,
    )


def _submit(chance: random.Random, body: bytes, headers: bytes = JSON) -> bytes:
    return request(b"POST", chance.choice(SUBMITS), headers, body)


def _bad_json(chance: random.Random) -> bytes:
    value = chance.choice(BAD_JSON)
    shape = chance.choice(
        (b"%s", b'{"payload": %s}', b'{"payload": [1, %s]}', b'{"type": %s}', b'{"type": "sleep", "ms": %s}')
    )
    body = shape % value
    if value in (b"1e999", b"9" * 6000) and b"ms" not in shape and b"type" not in shape:
        body = body[:-1] + b","  # alone, as a payload, a number of any size may be fine
    return _submit(chance, body)


def _bad_task(chance: random.Random) -> bytes:
    task = chance.choice(
        (
            {"type": chance.choice(BAD_VALUES)},
            {"type": "sleep", "ms": chance.choice([v for v in BAD_VALUES if v not in (2**70, 1e308)])},
            {"type": "sleep", "milliseconds": 5},
            {"type": "echo", "payload": 1, chance.choice(("x", "", "Type", "__proto__", "ü")): 1},
            {"payload": 1, "options": chance.choice([v for v in BAD_VALUES if v not in ({}, None)])},
            chance.choice([v for v in BAD_VALUES if not isinstance(v, dict)]),
        )
    )
    return _submit(chance, json.dumps(task).encode())


def _bad_option(chance: random.Random) -> bytes:
    name = chance.choice(
        (
            "timeoutMs",
            "priority",
            "delayMs",
            "startAt",
            "expireMs",
            "concurrencyKey",
            "concurrencyLimit",
            "retry",
            "webhooks",
            "nonsense",
        )
    )
    fine = {
        "retry": ({}, None),
        "concurrencyKey": ("x", "1", "\x00", None),
        "webhooks": ([], None),
        "priority": (-1, None),
    }
    values = [
        v for v in BAD_VALUES if v is not None and v not in fine.get(name, ()) and v not in (2**70, 1e308)
    ]
    retry = {
        chance.choice(("maxAttempts", "initialDelayMs", "factor", "maxDelayMs", "more")): chance.choice(
            ("x", -1, [], {}, "1")
        )
    }
    options = {name: chance.choice(values)} if chance.random() < 0.7 else {"retry": retry}
    return _submit(chance, json.dumps({"payload": 1, "options": options}).encode())


def _bad_headers(chance: random.Random) -> bytes:
    header = chance.choice(
        (
            b"Content-Type: text/plain\r\n",
            b"Content-Type: \xff\xfe\r\n",
            b"Content-Type: application/json-seq\r\n",
            b"Content-Type: multipart/form-data; boundary=x\r\n",
            b"Content-Type: " + b"a" * 5000 + b"\r\n",
            b"",
            JSON + b"Content-Encoding: gzip\r\n",
            JSON + b"Content-Encoding: br\r\n",
            JSON + b"Content-Encoding: deflate\r\n",
            JSON + b"%s: 1\r\n" % chance.choice(WEIRD_NAMES),
            JSON + b"X-Long: " + b"y" * 100_000 + b"\r\n",
            JSON + b"".join(b"X-%d: 1\r\n" % number for number in range(40_000)),
            JSON + b"X-Nul: a\x00b\r\n",
            JSON + b"X-Bare: a\rb\r\n",
            JSON + b"no colon here\r\n",
            JSON + b" folded: 1\r\n",
        )
    )
    return _submit(chance, b"{bad", header)


def _bad_framing(chance: random.Random) -> bytes:
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + JSON
    return chance.choice(
        (
            head + b"Content-Length: -1\r\n\r\n{}",
            head + b"Content-Length: 2x\r\n\r\n{}",
            head + b"Content-Length: 2, 3\r\n\r\n{}",
            head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            head + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
            head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            head + b"Transfer-Encoding: gzip\r\n\r\n{}",
            head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            head + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
            head + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{x\r\n0\r\n\r\n",
            head + b"Expect: the-impossible\r\nContent-Length: 1\r\n\r\n{",
            head.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
            head.replace(b"HTTP/1.1", b"HTTP/one") + b"\r\n",
            head.replace(b"POST /tasks ", b"POST  ") + b"\r\n",
            b"\r\n\r\n\r\n",
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
        )
    )


def _bad_query(chance: random.Random) -> bytes:
    value = chance.choice(
        (
            b"abc",
            b"%00",
            b"%ff",
            b"%zz",
            b"1.5.5",
            b"[]",
            b"%E2%9C%93",
            b"nan",
            b"inf",
            b"0x10",
            b"1_0",
            b"%31%00",
        )
    )
    get = chance.choice(
        (
            b"/tasks?limit=",
            b"/tasks?cursor=",
            b"/tasks?status=",
            b"/tasks?createdAfter=",
            b"/tasks?createdBefore=",
        )
    )
    post = chance.choice(
        (b"/run-and-wait?timeoutMs=", b"/run-and-wait?heartbeatMs=", JOB + b"/wait?timeoutMs=")
    )
    if chance.random() < 0.5:
        return request(b"GET", get + value)
    return request(b"POST", post + value, JSON, b"{}")


def _bad_method(chance: random.Random) -> bytes:
    method = chance.choice(
        (
            b"PUT",
            b"PATCH",
            b"TRACE",
            b"CONNECT",
            b"OPTIONS",
            b"BREW",
            b"get",
            b"PROPFIND",
            b"X" * 300,
            b"G\x00T",
            b"P@ST",
            b"QUERY",
        )
    )
    target = chance.choice(
        (
            b"/tasks",
            b"/run-and-wait",
            b"/",
            b"/health",
            b"*",
            JOB,
            JOB + b"/wait",
            b"/events",
            b"/openapi.json",
        )
    )
    return request(method, target, JSON, b"{}")


def _bad_path(chance: random.Random) -> bytes:
    path = chance.choice(
        (
            b"/%00",
            b"/%ff%fe",
            b"//tasks",
            b"/tasks//",
            b"/tasks/%2e%2e/health",
            b"/../../etc/passwd",
            b"/tasks/" + b"a" * 9000,
            b"tasks",
            b"/tasks/%",
            b"/tasks/%zz",
            b"/tasks;x=1",
            b"/\xff\xfe",
            b"http://[::1",
            b"http://other.example/tasks",
            b"/tasks/{jobId}",
            b"/run-and-wait/",
            b"/tasks#fragment",
            b"/TASKS",
            b"/tasks/..%2f..%2f",
            b"/%c0%ae%c0%ae/",
        )
    )
    tail = chance.choice((b"", b"/wait", b"/cancel", b"/events", b"/replay", b"?x=%ff"))
    method = chance.choice((b"GET", b"DELETE", b"POST"))
    return request(method, path + tail, JSON, b"{bad")


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n"


def _bad_batch(chance: random.Random) -> bytes:
    tasks: list[Any] = [{"payload": n} for n in range(chance.randrange(6))]
    tasks.insert(
        chance.randrange(len(tasks) + 1),
        chance.choice(({"type": "nope"}, 5, None, [], {"type": "sleep", "ms": "x"})),
    )
    if chance.random() < 0.5:
        return request(b"POST", b"/tasks/batch", JSON, json.dumps(tasks).encode())
    lines = b"\n".join(json.dumps(task).encode() for task in tasks) + chance.choice(
        (b"", b"\n", b"\n{", b"\n\xff")
    )
    return request(b"POST", b"/tasks/batch", b"Content-Type: application/x-ndjson\r\n", lines)


def _bad_key(chance: random.Random) -> bytes:
    key = chance.choice((b"k" * 256, b"k" * 5000, b"a b", b"\xff\xfe", b"\xc3\xa9", b"a\tb", b"a\x7fb"))
    return _submit(chance, b'{"payload": 1}', JSON + b"Idempotency-Key: " + key + b"\r\n")


def _mutated(chance: random.Random) -> bytes:
    """A good task cut off or with bytes replaced, such that it is no JSON any more."""
    body = bytearray(
        json.dumps(
            {"type": "sleep", "ms": 5, "options": {"priority": 1, "retry": {"maxAttempts": 2}}}
        ).encode()
    )
    if chance.random() < 0.5:
        del body[chance.randrange(1, len(body)) :]
    else:
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.choice(b"\x00\x01\xff\xc3")
    return _submit(chance, bytes(body))
