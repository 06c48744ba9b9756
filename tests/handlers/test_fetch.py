"""The fetch handler against well-behaved servers: what it sends, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jsonschema import Draft202012Validator

from async_endpoint.errors import FetchDisabled, JobError, RetryableResult
from async_endpoint.handlers.fetch import admit, run
from async_endpoint.handlers.fetch_params import Fetch
from async_endpoint.outbound.bodies import MAX_BODY_BYTES
from async_endpoint.outbound.session import open_session, undecoded
from async_endpoint.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.typedefs import Handler

LARGE = "x" * 60_000


@pytest.fixture
async def ctx() -> AsyncIterator[Any]:
    async with open_session(allow_private=True, user_agent="fetch-test") as http:
        yield SimpleNamespace(settings=Settings(), raw_http=undecoded(http))


@asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/"))


async def fetch(ctx: Any, **params: Any) -> dict[str, Any]:
    """Run the handler on a task as a client would write it."""
    result = await run(Fetch.model_validate_json(json.dumps(params)), ctx)
    assert isinstance(json.loads(json.dumps(result, allow_nan=False)), dict)
    return result  # type: ignore[no-any-return]


async def echo(request: web.Request) -> web.Response:
    """Answers with what was asked."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": base64.b64encode(body).decode(),
        }
    )


def asked(result: dict[str, Any]) -> dict[str, Any]:
    """What the `echo` server was asked, the body decoded."""
    said = json.loads(result["body"])
    return said | {"body": base64.b64decode(said["body"])}


async def test_the_result_of_a_plain_request(ctx: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="grüß", headers={"X-One": "1", "Server": "me", "Date": "now"}, status=404)

    async with serving(answer) as url:
        result = await fetch(ctx, url=url)
    assert 0 <= result.pop("elapsedMs") < 5_000
    assert result == {
        "taskType": "fetch",
        "url": url,
        "redirected": False,
        "status": 404,
        "headers": {
            "x-one": "1",
            "server": "me",
            "date": "now",
            "content-type": "text/plain; charset=utf-8",
            "content-length": "6",
        },
        "body": "grüß",
        "bodyEncoding": "text",
        "truncated": False,
        "bytes": 6,
    }


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "purge"]
)
async def test_every_method(ctx: Any, method: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(headers={"X-Method": request.method})

    async with serving(answer) as url:
        result = await fetch(ctx, url=url, method=method)
    assert result["headers"]["x-method"] == method.upper()
    assert (result["body"], result["bytes"]) == ("", 0)


@pytest.mark.parametrize(
    ("content", "sent", "content_type"),
    [
        ({"json": {"a": [1, None, "ü"]}}, '{"a":[1,null,"ü"]}'.encode(), "application/json"),
        ({"json": False}, b"false", "application/json"),
        ({"body": "grüß"}, "grüß".encode(), "text/plain; charset=utf-8"),
        ({"body": ""}, b"", "text/plain; charset=utf-8"),
        ({"bodyBase64": "AAH/"}, b"\0\x01\xff", "application/octet-stream"),
        (
            {"form": {"a b": "c&d", "n": 1.5, "yes": True, "many": ["x", 2]}},
            b"a+b=c%26d&n=1.5&yes=true&many=x&many=2",
            "application/x-www-form-urlencoded",
        ),
    ],
)
async def test_kinds_of_body(ctx: Any, content: dict[str, Any], sent: bytes, content_type: str) -> None:
    async with serving(echo) as url:
        said = asked(await fetch(ctx, url=url, **content))
        typed = asked(await fetch(ctx, url=url, method="PUT", headers={"content-TYPE": "text/x"}, **content))
    assert (said["method"], said["body"]) == ("POST", sent)
    assert said["headers"]["content-type"] == content_type
    assert said["headers"]["content-length"] == str(len(sent))
    assert (typed["method"], typed["headers"]["content-type"]) == ("PUT", "text/x")


async def test_a_large_body_arrives_whole(ctx: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with serving(answer) as url:
        result = await fetch(ctx, url=url, body="x" * 3_000_000)
    assert result["body"] == "3000000"


async def test_a_multipart_body_is_what_a_browser_sends(ctx: Any) -> None:
    parts = [
        {"name": "text", "value": "grüß"},
        {"name": "text", "value": "again"},
        {"name": 'q"\r\n', "value": "x", "contentType": "text/csv"},
        {"name": "file", "valueBase64": "AP8=", "filename": "ä.bin"},
    ]

    async def answer(request: web.Request) -> web.Response:
        return web.json_response([await described(part) async for part in await request.multipart()])

    async def described(part: Any) -> list[Any]:
        return [part.name, part.filename, part.headers.get("Content-Type"), (await part.read()).hex()]

    async with serving(answer) as url:
        result = await fetch(ctx, url=url, multipart=parts)
    assert json.loads(result["body"]) == [
        ["text", None, None, "grüß".encode().hex()],
        ["text", None, None, b"again".hex()],
        ["q%22%0D%0A", None, "text/csv", b"x".hex()],
        ["file", "ä.bin", "application/octet-stream", "00ff"],
    ]


async def test_headers_are_sent_and_nothing_is_remembered(ctx: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        response = await echo(request)
        response.set_cookie("session", "secret")
        return response

    async with serving(answer) as url:
        first = asked(await fetch(ctx, url=url, headers={"Authorization": "Bearer x", "X-A": "ü"}))
        second = asked(await fetch(ctx, url=url))
    assert (first["headers"]["authorization"], first["headers"]["x-a"]) == ("Bearer x", "ü")
    assert not {"authorization", "x-a", "cookie"} & set(second["headers"])
    assert second["headers"]["user-agent"] == "fetch-test"


async def test_repeated_response_headers(ctx: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response()
        for value in ("a", "b"):
            response.headers.add("Vary", value)
            response.headers.add("Set-Cookie", f"{value}=1, 2")
        return response

    async with serving(answer) as url:
        headers = (await fetch(ctx, url=url))["headers"]
    assert headers["vary"] == "a, b"
    assert headers["set-cookie"] == "a=1, 2\nb=1, 2"


@pytest.mark.parametrize(
    ("body", "headers", "shown", "encoding"),
    [
        (b'{"a":1}', {"Content-Type": "application/problem+json"}, '{"a":1}', "text"),
        ("grüß".encode("latin-1"), {"Content-Type": "text/plain; charset=ISO-8859-1"}, "grüß", "text"),
        ("日本".encode("shift_jis"), {"Content-Type": "text/html; charset=Shift_JIS"}, "日本", "text"),
        ("ü".encode("utf-16"), {"Content-Type": "application/x; charset=utf-16"}, "ü", "text"),
        ("\ufeffü".encode(), {"Content-Type": "text/plain"}, "ü", "text"),
        (b"a\xffb", {"Content-Type": "text/plain"}, "a\ufffdb", "text"),
        (b"a\xffb", {"Content-Type": "text/plain; charset=nonsense"}, "a\ufffdb", "text"),
        (b"a", {"Content-Type": "text/plain; charset=zlib"}, "a", "text"),
        (b"xn--a", {"Content-Type": "text/plain; charset=punycode"}, "xn--a", "text"),
        (b"\0\xff", {"Content-Type": "image/png"}, "AP8=", "base64"),
        (b"text", {"Content-Type": "application/octet-stream"}, "dGV4dA==", "base64"),
        ("ü".encode(), {}, "ü", "text"),
        (b"\0\x01", {}, "AAE=", "base64"),
        (b"\xff", {}, "/w==", "base64"),
    ],
)
async def test_how_a_body_is_shown(
    ctx: Any, body: bytes, headers: dict[str, str], shown: str, encoding: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [
            "HTTP/1.1 200 OK",
            f"Content-Length: {len(body)}",
            *(f"{n}: {v}" for n, v in headers.items()),
        ]
        await reader.readuntil(b"\r\n\r\n")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await fetch(ctx, url=f"http://127.0.0.1:{port}/")
    assert (result["body"], result["bodyEncoding"], result["bytes"]) == (shown, encoding, len(body))
    assert result["truncated"] is False


@pytest.mark.parametrize(
    ("body", "content_type", "length"),
    [
        (b"x" * 50_000, "text/plain", 50_000),
        (b"x" * 50_001, "text/plain", 50_000),
        ("ü".encode() * 50_000, "text/plain", 50_000),
        (b"a" + "𝄞".encode() * 60_000, "text/plain", 50_000),
        (b"\0" * 37_500, "image/png", 50_000),
        (b"\0" * 37_501, "image/png", 50_000),
    ],
)
async def test_a_long_body_is_cut_at_a_character(
    ctx: Any, body: bytes, content_type: str, length: int
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type)

    async with serving(answer) as url:
        result = await fetch(ctx, url=url)
    assert len(result["body"]) == length
    assert result["bytes"] == len(body)
    whole = base64.b64encode(body).decode() if content_type == "image/png" else body.decode()
    assert result["body"] == whole[:50_000]
    assert result["truncated"] == (len(whole) > 50_000)


async def test_a_compressed_body_is_shown_and_counted_decompressed(ctx: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert "gzip" in request.headers["Accept-Encoding"]
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
        return web.Response(body=gzip.compress(LARGE.encode()), headers=headers)

    async with serving(answer) as url:
        result = await fetch(ctx, url=url)
    assert result["bytes"] == 60_000
    assert result["body"] == LARGE[:50_000]


class Records(dict[str, tuple[bytes, str]]):
    """What a handler stored."""

    def set_value(self, key: str, value: bytes, content_type: str) -> None:
        self[key] = (value, content_type)


async def test_the_whole_body_is_saved(ctx: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(LARGE.encode()), headers={"Content-Encoding": "gzip"})

    records = Records()
    ctx.set_value = records.set_value
    async with serving(answer) as url:
        result = await fetch(ctx, url=url, saveBodyAs="page.html")
        await fetch(ctx, url=url)
    assert records == {"page.html": (LARGE.encode(), "application/octet-stream")}
    assert (result["bytes"], result["truncated"]) == (60_000, True)


async def test_the_body_is_saved_with_its_type_whatever_the_status(ctx: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="grüß", charset="iso-8859-1", status=503)

    records = Records()
    ctx.set_value = records.set_value
    async with serving(answer) as url:
        with pytest.raises(RetryableResult):
            await fetch(ctx, url=url, saveBodyAs="a")
    assert records == {"a": ("grüß".encode("iso-8859-1"), "text/plain; charset=iso-8859-1")}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("", "application/octet-stream"),
        ("text/html; charset=ü", "text/html"),
        ("text/html; name=" + "x" * 255, "text/html"),
        ("ü", "application/octet-stream"),
    ],
)
async def test_a_body_is_saved_whatever_its_type_says(ctx: Any, sent: str, kept: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"a", headers={"Content-Type": sent})

    records = Records()
    ctx.set_value = records.set_value
    async with serving(answer) as url:
        await fetch(ctx, url=url, saveBodyAs="a")
    assert records == {"a": (b"a", kept)}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_compressed_body_without_its_end_is_no_answer(ctx: Any, coding: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}[coding]
    whole = pack(LARGE.encode())

    async def answer(request: web.Request) -> web.Response:
        body = whole[: -int(request.query["less"]) or None]
        return web.Response(body=body, headers={"Content-Encoding": coding, "Content-Type": "text/plain"})

    async with serving(answer) as url:
        assert (await fetch(ctx, url=f"{url}?less=0"))["bytes"] == len(LARGE)
        assert (await fetch(ctx, url=f"{url}?less=0", method="HEAD"))["body"] == ""
        assert (await fetch(ctx, url=f"{url}?less={len(whole)}"))["body"] == ""
        for less in (1, len(whole) // 2):
            with pytest.raises(JobError, match="broke off") as caught:
                await fetch(ctx, url=f"{url}?less={less}")
            assert caught.value.code == "fetch-failed"


async def test_a_body_in_a_coding_that_was_not_undone_is_no_text(ctx: Any) -> None:
    body = gzip.compress(gzip.compress(b"text"))

    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip, gzip"}
        return web.Response(body=body, headers=headers)

    async with serving(answer) as url:
        result = await fetch(ctx, url=url)
    assert (result["bodyEncoding"], base64.b64decode(result["body"])) == ("base64", body)


async def test_a_body_that_is_too_large_to_save_fails_the_job(ctx: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(MAX_BODY_BYTES + int(request.query["more"])))

    records = Records()
    ctx.set_value = records.set_value
    async with serving(answer) as url:
        await fetch(ctx, url=f"{url}?more=0", saveBodyAs="fits")
        with pytest.raises(JobError, match="cannot be saved") as caught:
            await fetch(ctx, url=f"{url}?more=1", saveBodyAs="does-not")
    assert (caught.value.code, caught.value.retryable) == ("result-too-large", False)
    assert list(records) == ["fits"]


# Redirects


def redirecting(status: int, location: str | Callable[[web.Request], str]) -> Handler:
    """Redirects from /start; answers what was asked everywhere else."""

    async def answer(request: web.Request) -> web.Response:
        if request.path != "/start":
            return await echo(request)
        await request.read()
        where = location if isinstance(location, str) else location(request)
        return web.Response(status=status, headers={"Location": where})

    return answer


@pytest.mark.parametrize(
    ("status", "method", "becomes", "keeps_body"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (301, "PUT", "PUT", True),
        (302, "DELETE", "DELETE", True),
        (307, "POST", "POST", True),
        (308, "PATCH", "PATCH", True),
    ],
)
async def test_redirects_change_the_method_as_in_browsers(
    ctx: Any, status: int, method: str, becomes: str, keeps_body: bool
) -> None:
    async with serving(redirecting(status, "end?x=1")) as url:
        result = await fetch(ctx, url=f"{url}start", method=method, json={"a": 1}, headers={"X-A": "b"})
    said = asked(result)
    assert (result["redirected"], result["url"]) == (True, f"{url}end?x=1")
    assert (said["method"], said["path"]) == (becomes, "/end?x=1")
    assert said["body"] == (b'{"a":1}' if keeps_body else b"")
    assert said["headers"].get("content-type") == ("application/json" if keeps_body else None)
    assert said["headers"]["x-a"] == "b"


async def test_head_stays_head(ctx: Any) -> None:
    async with serving(redirecting(303, "/end")) as url:
        result = await fetch(ctx, url=f"{url}start", method="HEAD")
    assert (result["status"], result["url"], result["body"]) == (200, f"{url}end", "")


async def test_only_harmless_headers_reach_another_origin(ctx: Any) -> None:
    headers = {"Authorization": "a", "Cookie": "b", "X-Api-Key": "c", "X-Own": "d", "Accept": "e/f"}
    async with serving(echo) as other, serving(redirecting(307, f"{other}end")) as url:
        said = asked(await fetch(ctx, url=f"{url}start", method="POST", json=1, headers=headers))
    assert said["headers"]["accept"] == "e/f"
    assert said["headers"]["content-type"] == "application/json"
    assert not {"authorization", "cookie", "x-api-key", "x-own"} & set(said["headers"])


async def test_headers_do_not_come_back_with_the_origin(ctx: Any) -> None:
    back: list[str] = []

    async def other(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": back[0]})

    async with serving(other) as away, serving(redirecting(302, away)) as url:
        back.append(f"{url}end")
        said = asked(await fetch(ctx, url=f"{url}start", headers={"Authorization": "a"}))
    assert "authorization" not in said["headers"]


@pytest.mark.parametrize("limit", [0, 1, 5, 20])
async def test_redirects_end_at_the_limit_with_the_last_answer(ctx: Any, limit: int) -> None:
    seen: list[str] = []

    async def loop(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": f"/{len(seen)}"})

    async with serving(loop) as url:
        result = await fetch(ctx, url=url, followRedirects=limit)
    assert len(seen) == limit + 1
    assert (result["status"], result["redirected"]) == (302, limit > 0)
    assert result["headers"]["location"] == f"/{limit + 1}"


@pytest.mark.parametrize("status", [300, 304, 305, 302])
async def test_without_a_place_to_go_the_answer_is_the_result(ctx: Any, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        headers = {} if status == 302 else {"Location": "/x"}
        return web.Response(status=status, headers=headers)

    async with serving(answer) as url:
        assert (await fetch(ctx, url=url))["status"] == status


# The guard


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("http://user:hunter2@example.com/", "credentials"),
        ("http://169.254.169.254/latest/meta-data", "metadata service"),
        ("http://2130706433/", "not a name or a plainly written address"),
    ],
)
async def test_a_refused_url_is_not_tried_again(ctx: Any, url: str, reason: str) -> None:
    with pytest.raises(JobError, match=reason) as caught:
        await fetch(ctx, url=url)
    assert (caught.value.code, caught.value.retryable) == ("fetch-blocked", False)
    assert "hunter2" not in str(caught.value)


async def test_private_addresses_are_refused_unless_allowed(ctx: Any) -> None:
    async with serving(echo) as url, open_session(allow_private=False, user_agent="x") as http:
        strict = SimpleNamespace(settings=Settings(), raw_http=undecoded(http))
        with pytest.raises(JobError, match="not public") as caught:
            await fetch(strict, url=url)
        assert (await fetch(ctx, url=url))["status"] == 200
    assert caught.value.code == "fetch-blocked"


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://a:b@127.0.0.1/", "http://[::1", "http://x y/"]
)
async def test_a_redirect_is_checked_like_a_url(ctx: Any, target: str) -> None:
    async with serving(redirecting(302, target)) as url:
        with pytest.raises(JobError) as caught:
            await fetch(ctx, url=f"{url}start")
    assert (caught.value.code, caught.value.retryable) == ("fetch-blocked", False)


async def test_only_allowed_hosts_are_reached_on_every_hop(ctx: Any) -> None:
    ctx.settings = Settings(fetch_allowed_hosts=("127.0.0.1", "*.example.com"))
    async with serving(redirecting(302, "http://localhost/end")) as url:
        assert (await fetch(ctx, url=url))["status"] == 200
        for refused in (f"{url}start", "http://example.com/", "http://other.test/"):
            with pytest.raises(JobError, match="fetchAllowedHosts") as caught:
                await fetch(ctx, url=refused)
            assert caught.value.code == "fetch-blocked"


def test_fetch_is_off_unless_allowed() -> None:
    with pytest.raises(FetchDisabled):
        admit(Settings())
    admit(Settings(allow_fetch_tasks=True))


# What asks for another attempt


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_passing_trouble_asks_for_another_attempt(ctx: Any, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "7"}, text="later")

    async with serving(answer) as url:
        for method in ("GET", "PUT", "DELETE"):
            with pytest.raises(RetryableResult) as caught:
                await fetch(ctx, url=url, method=method)
            assert caught.value.retry_after_ms == 7_000
            assert isinstance(caught.value.result, dict)
            assert (caught.value.result["status"], caught.value.result["body"]) == (status, "later")
        for method in ("POST", "PATCH"):
            assert (await fetch(ctx, url=url, method=method))["status"] == status


@pytest.mark.parametrize("status", [200, 400, 408, 500, 501])
async def test_other_answers_are_results(ctx: Any, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(answer) as url:
        assert (await fetch(ctx, url=url))["status"] == status


# Parameters


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"url": ""},
        {"url": "example.com/x"},
        {"url": "http://"},
        {"url": "http://a\nb/"},
        {"url": "http://[::1"},
        {"url": f"http://a/{'x' * 8192}"},
        {"url": "http://a", "method": "CONNECT"},
        {"url": "http://a", "method": "G ET"},
        {"url": "http://a", "method": ""},
        {"url": "http://a", "headers": {"Host": "b"}},
        {"url": "http://a", "headers": {"Transfer-Encoding": "chunked"}},
        {"url": "http://a", "headers": {"X": "a\r\nHost: b"}},
        {"url": "http://a", "headers": {"X": 1}},
        {"url": "http://a", "json": 1, "body": "x"},
        {"url": "http://a", "form": {}, "multipart": [{"name": "a", "value": "b"}]},
        {"url": "http://a", "bodyBase64": "@@"},
        {"url": "http://a", "bodyBase64": "ü"},
        {"url": "http://a", "form": {"a": None}},
        {"url": "http://a", "form": {"a": {"b": "c"}}},
        {"url": "http://a", "multipart": []},
        {"url": "http://a", "multipart": [{"name": "a"}]},
        {"url": "http://a", "multipart": [{"name": "a", "value": "b", "valueBase64": "AA=="}]},
        {"url": "http://a", "multipart": [{"name": "a", "value": "b", "contentType": "x/y\r\nz: 1"}]},
        {
            "url": "http://a",
            "multipart": [{"name": "a", "value": "b"}],
            "headers": {"content-type": "multipart/form-data"},
        },
        {"url": "http://a", "saveBodyAs": "a/b"},
        {"url": "http://a", "saveBodyAs": "INPUT"},
        {"url": "http://a", "timeoutMs": 0},
        {"url": "http://a", "timeoutMs": "5"},
        {"url": "http://a", "followRedirects": -1},
        {"url": "http://a", "followRedirects": 21},
        {"url": "http://a", "followRedirects": True},
        {"url": "http://a", "follow_redirects": 1},
        {"url": "http://a", "proxy": "http://b"},
    ],
)
def test_tasks_that_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Fetch.model_validate_json(json.dumps(params))


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "Connect"},
        {"method": "G ET"},
        {"headers": {"Transfer-encoding": "chunked"}},
        {"headers": {"X": "a\r\nHost: b"}},
        {"json": 1, "body": "x"},
        {"form": {}, "multipart": [{"name": "a", "value": "b"}]},
        {"bodyBase64": "@@"},
        {"multipart": [{"name": "a"}]},
        {"multipart": [{"name": "a", "value": "b", "valueBase64": "AA=="}]},
        {"saveBodyAs": "INPUT"},
        {"timeoutMs": 0},
        {"followRedirects": 21},
    ],
)
def test_the_published_schema_refuses_it_too(wrong: dict[str, Any]) -> None:
    schema = Draft202012Validator(Fetch.model_json_schema())
    names = ("method", "headers", "json", "body", "bodyBase64", "form", "multipart", "saveBodyAs")
    right = {
        "url": "http://a",
        **dict.fromkeys(names),
        "headers": {"Connect": "TE"},
        "multipart": [{"name": "a", "value": None, "valueBase64": "AA=="}],
    }
    assert schema.is_valid(right)
    assert not schema.is_valid({"url": "http://a", **wrong})


def test_a_whole_number_is_one_however_it_is_written() -> None:
    params = Fetch.model_validate_json('{"url": "http://a", "timeoutMs": 5e3, "followRedirects": 1.0}')
    assert (params.timeout_ms, params.follow_redirects) == (5000, 1)


def test_null_stands_for_an_absent_parameter() -> None:
    names = ("method", "headers", "json", "body", "bodyBase64", "form", "multipart", "saveBodyAs")
    params = Fetch.model_validate_json(json.dumps({"url": "http://a", **dict.fromkeys(names)}))
    assert params == Fetch(url="http://a")
    assert not params.has_content
