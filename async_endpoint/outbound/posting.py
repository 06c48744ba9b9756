"""One attempt of a webhook delivery over HTTP."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import aiohttp

from ..jobs.clock import now_ms
from .failures import blocked_reason, in_words
from .guard import BlockedError, check_url, parse_url
from .retry_after import parse_retry_after
from .session import send


class Request(NamedTuple):
    """What an attempt sends."""

    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What came of an attempt.

    Attributes:
        status: The HTTP status; None where there was no answer.
        error: What went wrong, without anything that the URL or the receiver said; None after success.
        retry_after_ms: How long the receiver wants to be left alone.
        final: No further attempt makes sense.
    """

    status: int | None
    error: str | None
    retry_after_ms: int | None = None
    final: bool = False


async def post(session: aiohttp.ClientSession, url: str, request: Request, timeout_ms: int) -> Answer:
    """Make the attempt; the answer's status counts, not its body. Redirects are not followed."""
    try:
        target = parse_url(url)
        check_url(target)
        async with asyncio.timeout(timeout_ms / 1000):
            response = await send(
                session, "POST", target, headers=request.headers, body=request.body, repeatable=True
            )
        # Closes the connection unless the body is there already: nobody waits for the rest of it.
        response.release()
    except TimeoutError:
        return Answer(None, f"no answer within {timeout_ms} ms")
    except (aiohttp.ClientError, BlockedError, ValueError) as error:
        return _failure(error)
    return _answer(response)


def _answer(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(status, None)
    retry_after = parse_retry_after(response.headers.get("Retry-After"), now_ms())
    if 300 <= status < 400:
        return Answer(status, f"answered {status}; redirects are not followed", retry_after)
    return Answer(status, f"answered {status}", retry_after)


def _failure(error: Exception) -> Answer:
    reason = blocked_reason(error)
    if reason is not None:
        return Answer(None, f"refused: {reason}", final=True)
    if isinstance(error, aiohttp.ClientError):
        return Answer(None, in_words(error))
    return Answer(None, "the URL or a header is not valid", final=True)
