from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import BadRequest, FieldError, InvalidTask, QueueFull, ServiceError
from async_endpoint.web.responses import json_text, json_value, problem

if TYPE_CHECKING:
    from aiohttp import web


def body(response: web.Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


@pytest.mark.parametrize("error", [BadRequest("No."), BadRequest(), ServiceError("Oh.")], ids=repr)
def test_a_problem_says_everything_twice_for_plain_clients(error: ServiceError) -> None:
    response = problem(error)
    assert response.content_type == "application/problem+json"
    assert body(response) == {
        "type": f"about:blank#{error.code}",
        "title": error.title,
        "status": response.status,
        "detail": error.detail,
        "code": error.code,
        "error": error.detail,
    }
    assert response.status == error.status
    assert error.detail


def test_a_problem_names_every_fault_of_a_body() -> None:
    faults = [FieldError(path="options.retry.factor", message="ä\n\u2028")]
    assert body(problem(InvalidTask("The task is not valid.", faults)))["errors"] == faults


def test_the_headers_of_an_error_are_sent() -> None:
    error = QueueFull()
    error.headers["Retry-After"] = "7"
    response = problem(error)
    assert (response.headers["Retry-After"], response.content_type) == ("7", "application/problem+json")


def test_headers_of_an_answer_may_say_what_it_is() -> None:
    plain = json_value({"a": [1, "ä"]}, 202, {"Location": "/tasks/1"})
    assert (plain.status, plain.headers["Location"], body(plain)) == (202, "/tasks/1", {"a": [1, "ä"]})
    assert plain.headers["Content-Type"] == "application/json"
    assert json_text(b"{}", headers={"Content-Type": "text/x"}).headers.getall("Content-Type") == ["text/x"]
