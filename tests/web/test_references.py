from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.web.references import braces, resolve

REQUEST: dict[str, Any] = {
    "body": {"repository": {"name": "demo"}, "commits": [{"id": "a"}, {"id": "b"}], "n": 0, "none": None},
    "headers": {"x-github-event": "push"},
    "query": {"ref": "main", "tag": ["1", "2"]},
    "contentType": "application/json",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{body.repository.name}}", "demo"),
        ("{{ body.repository.name }}", "demo"),
        ("{{body.commits.1.id}}", "b"),
        ("{{body.commits}}", [{"id": "a"}, {"id": "b"}]),
        ("{{body.n}}", 0),
        ("{{headers.X-GitHub-Event}}", "push"),
        ("{{query.ref}}", "main"),
        ("{{query.tag}}", ["1", "2"]),
        ("{{contentType}}", "application/json"),
        ("{{body}}", REQUEST["body"]),
    ],
)
def test_a_reference_is_replaced_by_the_value_itself(text: str, value: object) -> None:
    assert resolve(text, REQUEST) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{body.none}}",
        "{{body.missing.deeper}}",
        "{{body.commits.2}}",
        "{{body.commits.-1}}",
        "{{body.commits.²}}",
        "{{body.commits.99999999999999999999999}}",
        "{{body.repository.name.0}}",
        "{{contentType.x}}",
        "{{query.missing}}",
    ],
)
def test_what_the_request_does_not_have_is_null(text: str) -> None:
    assert list(braces(text)) == [((), True)]
    assert resolve(text, REQUEST) is None


@pytest.mark.parametrize(
    "text",
    [
        "Hello {{body.n}}",
        "{{body.n}}!",
        "{{body.n}} {{body.n}}",
        "{{{body.n}}}",
        "{{",
        "{{}}",
        "{{nope}}",
        "{{bodyx}}",
        "{{body.}}",
        "{{body..n}}",
        "{{body.n n}}",
        "{{body.n + 1}}",
        "{{body[n]}}",
        "{{env.SECRET}}",
        "{{Body}}",
        "{{7*7}}",
    ],
)
def test_anything_else_with_braces_stays(text: str) -> None:
    assert resolve(text, REQUEST) == text
    assert list(braces({"a": text})) == [(("a",), False)]


def test_references_are_found_at_any_depth_and_only_in_values() -> None:
    task = {"{{body}}": 1, "json": {"a": ["{{body.n}}", {"b": "{{nope}}"}]}, "n": 5, "c": "{body}"}
    assert list(braces(task)) == [(("json", "a", 0), True), (("json", "a", 1, "b"), False)]
    assert resolve({"{{body}}": 1, "a": ["{{body.n}}"]}, REQUEST) == {"{{body}}": 1, "a": [0]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=json_values)
def test_a_value_taken_from_the_request_is_not_looked_into(value: object) -> None:
    request = {**REQUEST, "body": {"text": "{{headers.x-github-event}}", "value": value}}
    assert resolve({"a": "{{body.text}}", "b": "{{body.value}}"}, request) == {
        "a": "{{headers.x-github-event}}",
        "b": value,
    }
