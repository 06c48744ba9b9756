from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import FetchDisabled, InvalidTask, PresetNotFound, SettingsError
from async_endpoint.web.presets import Presets

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST = {"body": {"ref": "main"}, "headers": {}, "query": {}, "contentType": None}


def check(task: Mapping[str, Any]) -> None:
    """A stand-in for the service's own validation: `ms` and `options.priority` are whole numbers."""
    options = task["options"] if isinstance(task.get("options"), dict) else {}
    errors = [
        {"path": path, "message": "not a whole number"}
        for path, value in (("ms", task.get("ms", 0)), ("options.priority", options.get("priority", 0)))
        if not isinstance(value, int)
    ]
    if task.get("type", "echo") not in ("echo", "sleep"):
        errors.append({"path": "type", "message": "unknown"})
    if errors:
        raise InvalidTask("bad", errors)  # type: ignore[arg-type]


def load(**saved: Any) -> Presets:
    return Presets({name.replace("_", "-"): entry for name, entry in saved.items()}, check, "echo".__eq__)


def test_a_preset_keeps_its_task_without_the_secret() -> None:
    verify = {"scheme": "github", "secret": "s3cr3t"}
    presets = load(deploy={"type": "sleep", "ms": 5, "options": {"priority": 3}, "verify": verify}, plain={})
    assert presets["deploy"].task == {"type": "sleep", "ms": 5, "options": {"priority": 3}}
    assert "s3cr3t" not in repr(presets["deploy"])
    assert list(presets) == ["deploy", "plain"]
    assert [presets.signed(name) for name in ("deploy", "plain", "nope")] == [True, False, False]
    assert presets["plain"].type == "echo"


def test_an_unknown_name_is_not_found() -> None:
    presets = load()
    assert "nope" not in presets
    with pytest.raises(PresetNotFound):
        presets["nope"]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"type": "nope"}, "presets.my-hook.type is not valid: unknown"),
        ({"type": "sleep", "ms": "5"}, "presets.my-hook.ms is not valid: not a whole number"),
        (
            {"options": {"priority": "high"}},
            "presets.my-hook.options.priority is not valid: not a whole number",
        ),
        ({"type": "{{body.type}}"}, "presets.my-hook.type is not valid: a task type cannot be a reference"),
        ({"verify": {"scheme": "md5", "secret": "s3cr3t"}}, "presets.my-hook.verify is not valid: "),
        ({"verify": {"scheme": "github"}}, "presets.my-hook.verify.secret is not valid: "),
        ({"verify": {"scheme": "standard-webhooks", "secret": "s3cr3t!"}}, "presets.my-hook.verify.secret "),
        ({"verify": "github"}, "presets.my-hook.verify is not valid: "),
    ],
)
def test_a_fault_names_the_preset_and_the_field_and_no_secret(entry: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(good={}, my_hook=entry)
    assert str(caught.value).startswith(line)
    assert "s3cr3t" not in str(caught.value)


def test_every_fault_has_a_line() -> None:
    with pytest.raises(SettingsError) as caught:
        load(a={"type": "nope", "verify": 1}, b={"type": "sleep", "ms": None})
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        "presets.a.verify",
        "presets.a.type",
        "presets.b.ms",
    ]


def test_braces_that_are_no_reference_stay_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    presets = load(a={"payload": ["{{bdoy.ref}}", "{{body.ref}}"]})
    assert presets.task_for(presets["a"], REQUEST) == {"payload": ["{{bdoy.ref}}", "main"]}
    assert [record.getMessage() for record in caplog.records] == [
        "presets.a.payload.0 has braces but is no reference; it stays as it is"
    ]


def test_what_a_reference_will_be_is_not_checked_before() -> None:
    presets = load(wait={"type": "sleep", "ms": "{{body.ms}}", "options": "{{body.options}}"})
    request = {**REQUEST, "body": {"ms": 7}}
    assert presets.task_for(presets["wait"], request) == {"type": "sleep", "ms": 7, "options": None}
    with pytest.raises(SettingsError, match=r"presets\.b\.ms "):
        load(b={"type": "sleep", "ms": "7", "options": {"priority": "{{body.ms}}"}})


def test_the_request_is_the_payload_where_the_type_takes_one_and_the_preset_sets_none() -> None:
    presets = load(all={}, some={"payload": "{{body.ref}}"}, none={"type": "sleep"}, null={"payload": None})
    tasks = {name: presets.task_for(presets[name], REQUEST) for name in presets}
    assert tasks == {
        "all": {"payload": REQUEST},
        "some": {"payload": "main"},
        "none": {"type": "sleep"},
        "null": {"payload": None},
    }


def test_a_preset_of_a_type_that_the_settings_do_not_allow_is_a_fault() -> None:
    def refuse(_task: Mapping[str, Any]) -> None:
        raise FetchDisabled

    with pytest.raises(SettingsError, match=r"^presets\.a\.type is not valid: Fetch tasks are off"):
        Presets({"a": {"type": "fetch", "url": "http://example.com"}}, refuse, lambda _name: False)
