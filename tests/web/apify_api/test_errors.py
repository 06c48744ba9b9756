from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from async_endpoint.errors import QueueFull, ServiceError
from async_endpoint.web.apify_api.answers import error_answer
from async_endpoint.web.apify_api.errors import as_api_error

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = json.loads((Path(__file__).parent / "published_schemas.json").read_text("utf-8"))["$defs"]


def subclasses(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("kind", [ServiceError, *subclasses(ServiceError)])
def test_every_error_has_a_published_type(kind: type[ServiceError]) -> None:
    error = as_api_error(kind("what was wrong"))
    assert error.status == kind.status
    assert error.type in SCHEMAS["ErrorType"]["enum"]
    assert str(error) == "what was wrong"


def test_headers_stay() -> None:
    response = error_answer(None, QueueFull(retry_after=7))  # type: ignore[arg-type]
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert json.loads(response.body)["error"]["type"] == "rate-limit-exceeded"  # type: ignore[arg-type]
