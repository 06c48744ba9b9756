"""`fetch`: makes an HTTP request and gives the response back."""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from ..errors import FetchDisabled
from ..jobs.clock import now_ms
from ..jobs.outputs import CONTENT_TYPE
from ..outbound.bodies import MAX_BODY_BYTES, SHOWN_BYTES, Body, read_body, show
from ..outbound.failures import blocked_reason, in_words
from ..outbound.guard import BlockedError, check_url, parse_url
from ..outbound.hosts import HostList
from ..outbound.redirects import OutboundRequest, send_following
from ..outbound.retry_after import parse_retry_after
from ..outbound.session import IDEMPOTENT_METHODS
from . import JobContext, JobError, RetryableResult, handler
from .fetch_params import Fetch, content_of

if TYPE_CHECKING:
    from yarl import URL

    from ..settings import Settings

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})


class Exchange(NamedTuple):
    """A request with its redirects, done: the last response, whose body has been read."""

    response: aiohttp.ClientResponse
    redirected: bool
    body: Body


def admit(settings: Settings) -> None:
    """Refuse fetch tasks unless the setting allows them."""
    if not settings.allow_fetch_tasks:
        raise FetchDisabled


@handler("fetch", admit=admit)
async def run(params: Fetch, ctx: JobContext) -> dict[str, Any]:
    """Make the request; an answer completes the job, whatever its status, and no answer fails it."""
    started = monotonic()
    exchange = await _exchange(params, ctx)
    response = exchange.response
    if params.save_body_as is not None:
        _save(params.save_body_as, exchange, ctx)
    result = _result(exchange, round((monotonic() - started) * 1000))
    if response.status in RETRYABLE_STATUSES and _method(params) in IDEMPOTENT_METHODS:
        wait = parse_retry_after(response.headers.get("Retry-After"), now_ms())
        raise RetryableResult(result, reason=f"the server answered {response.status}", retry_after_ms=wait)
    return result


async def _exchange(params: Fetch, ctx: JobContext) -> Exchange:
    keep = SHOWN_BYTES if params.save_body_as is None else MAX_BODY_BYTES
    try:
        async with asyncio.timeout(params.timeout_ms / 1000):
            answer = await send_following(
                ctx.raw_http,
                _request(params),
                max_redirects=params.follow_redirects,
                check=partial(_check, ctx.settings.fetch_allowed_hosts),
            )
            try:
                body = await read_body(answer.response, keep)
            finally:
                answer.response.release()
    except TimeoutError:
        raise JobError(
            f"there was no whole answer within {params.timeout_ms} ms", code="fetch-failed"
        ) from None
    except (aiohttp.ClientError, BlockedError) as exc:
        raise _failure(exc) from exc
    return Exchange(answer.response, answer.hops > 0, body)


def _request(params: Fetch) -> OutboundRequest:
    content = content_of(params)
    headers = dict(params.headers or {})
    if content is None:
        return OutboundRequest(_method(params), parse_url(params.url), headers)
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content.type
    return OutboundRequest(_method(params), parse_url(params.url), headers, content.data)


def _method(params: Fetch) -> str:
    return params.method or ("POST" if params.has_content else "GET")


def _check(allowed_hosts: tuple[str, ...], url: URL) -> None:
    check_url(url)
    if allowed_hosts and url.raw_host not in _host_list(allowed_hosts):
        raise BlockedError("the host is not one of those that fetchAllowedHosts allows")


_host_list = lru_cache(maxsize=1)(HostList)


def _failure(error: aiohttp.ClientError | BlockedError) -> JobError:
    reason = blocked_reason(error)
    if reason is not None:
        return JobError(f"blocked: {reason}", code="fetch-blocked", retryable=False)
    words = in_words(error) if isinstance(error, aiohttp.ClientError) else str(error)
    return JobError(words, code="fetch-failed")


def _result(exchange: Exchange, elapsed_ms: int) -> dict[str, Any]:
    response, body = exchange.response, exchange.body
    content_type = response.content_type if "Content-Type" in response.headers else None
    shown = show(body, content_type, response.charset)
    return {
        "taskType": "fetch",
        "url": str(response.url),
        "redirected": exchange.redirected,
        "status": response.status,
        "headers": _headers(response),
        "body": shown.text,
        "bodyEncoding": shown.encoding,
        "truncated": shown.truncated,
        "bytes": body.size,
        "elapsedMs": elapsed_ms,
    }


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Headers by lower-case name; repeated ones are joined by commas, Set-Cookie by line breaks."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        key, value = name.lower(), _clean(value)
        joint = "\n" if key == "set-cookie" else ", "
        headers[key] = f"{headers[key]}{joint}{value}" if key in headers else value
    return headers


def _clean(value: str) -> str:
    """A header's value without the surrogates that stand for bytes which are not UTF-8."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _save(key: str, exchange: Exchange, ctx: JobContext) -> None:
    if not exchange.body.complete:
        message = f"the body is larger than {MAX_BODY_BYTES} bytes, so it cannot be saved"
        raise JobError(message, code="result-too-large", retryable=False)
    ctx.set_value(key, exchange.body.start, _record_type(exchange.response))


def _record_type(response: aiohttp.ClientResponse) -> str:
    """The response's content type as a record can have it: whole, or without its parameters, or none."""
    types = (response.headers.get("Content-Type", ""), response.content_type)
    return next(filter(CONTENT_TYPE.fullmatch, types), "application/octet-stream")
