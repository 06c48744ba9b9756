from __future__ import annotations

import json
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from async_endpoint.errors import FetchDisabled, InvalidTask, JobError, StartError
from async_endpoint.handlers import JobContext, handler
from async_endpoint.handlers.catalog import load_catalog
from async_endpoint.handlers.context import Resources
from async_endpoint.handlers.tasktype import BoundHandler, task_type_of
from async_endpoint.jobs.model import Job
from async_endpoint.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CATALOG = load_catalog([], Settings())


class Params(BaseModel):
    text: str = ""


class Attempt:
    """As much of an attempt as a handler sees; `told` holds its reports."""

    deadline = None
    params = None
    stop_reason = None

    def __init__(self, task: dict[str, Any] | None = None) -> None:
        self.job = Job("job", "test", json.dumps(task or {}).encode(), 0)
        self.told: list[tuple[Any, ...]] = []
        self.reports = self

    def log(self, job_id: str, level: str, message: str) -> None:
        self.told.append((job_id, level, message))


def bound(function: Any) -> BoundHandler:
    task_type = task_type_of(function)
    assert task_type is not None
    return BoundHandler(task_type, Resources(Settings(), None, None))  # type: ignore[arg-type]


# --- what clients send ---


def test_a_task_without_a_type_is_an_echo() -> None:
    task = CATALOG.parse({"payload": {"a": [1, None, "ä"]}})
    assert (task.type, json.loads(task.text), task.shown) == (
        "echo",
        {"payload": {"a": [1, None, "ä"]}},
        None,
    )


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (None, ""),
        ([], ""),
        ("echo", ""),
        ({"type": "nope"}, "type"),
        ({"type": None}, "type"),
        ({"type": ["echo"]}, "type"),
        ({"nope": 1}, "nope"),
        ({"type": "sleep"}, "ms"),
        ({"type": "sleep", "ms": "5"}, "ms"),
        ({"type": "sleep", "ms": True}, "ms"),
        ({"type": "sleep", "ms": -1}, "ms"),
        ({"options": {"timeoutMs": 0}}, "options.timeoutMs"),
        ({"options": {"nope": 1}}, "options.nope"),
        ({"options": {"retry": {"factor": 0.5}}}, "options.retry.factor"),
        ({"options": {"delayMs": 1, "startAt": "2030-01-01T00:00:00Z"}}, "options"),
        ({"options": {"concurrencyLimit": 2}}, "options"),
        ({"options": {"startAt": "2030-01-01"}}, "options.startAt"),
        ({"options": {"startAt": 1}}, "options.startAt"),
    ],
)
def test_a_fault_is_named_with_its_path(task: Any, path: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        CATALOG.parse(task)
    assert [error["path"] for error in caught.value.errors] == [path]
    assert caught.value.errors[0]["message"]


def test_every_fault_is_named() -> None:
    with pytest.raises(InvalidTask) as caught:
        CATALOG.parse({"type": "sleep", "ms": "x", "more": 1, "options": {"priority": 101}})
    assert {error["path"] for error in caught.value.errors} == {"ms", "more", "options.priority"}


@pytest.mark.parametrize("payload", [float("nan"), float("inf"), "\ud800"])
def test_what_is_not_json_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidTask):
        CATALOG.parse({"payload": payload})


def test_a_type_can_be_switched_off_by_the_settings() -> None:
    with pytest.raises(FetchDisabled):
        CATALOG.parse({"type": "fetch", "url": "https://example.com"})


async def test_a_type_that_was_switched_off_after_the_acceptance_does_not_run() -> None:
    def admit(_: Settings) -> None:
        raise FetchDisabled

    @handler("test", admit=admit)
    async def run(params: Params, ctx: JobContext) -> None:
        raise AssertionError

    with pytest.raises(JobError, match="allowFetchTasks") as caught:
        await bound(run).run(Attempt())  # type: ignore[arg-type]
    assert not caught.value.retryable


def test_secrets_are_shown_masked_and_kept() -> None:
    webhook = {"url": "https://example.com/", "secret": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}
    task = CATALOG.parse({"options": {"webhooks": [webhook]}})
    assert webhook["secret"].encode() in task.text
    assert task.shown is not None
    assert webhook["secret"].encode() not in task.shown
    assert json.loads(task.shown)["options"]["webhooks"][0]["secret"] == "***"


def test_tasks_that_mean_the_same_have_one_digest() -> None:
    def digest(*tasks: dict[str, Any]) -> str:
        return CATALOG.digest(map(CATALOG.parse, tasks))

    plain = digest({"payload": {"a": 1, "b": 2}})
    assert plain == digest({"payload": {"b": 2, "a": 1}, "type": "echo", "options": {"priority": 0}})
    assert plain != digest({"payload": {"a": 1, "b": 3}})
    assert plain != digest({"payload": {"a": 1, "b": 2}}, {})


# --- handlers ---


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_handlers_of_named_modules_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(
        tmp_path,
        monkeypatch,
        "own_handlers",
        """
        from __future__ import annotations
        from pydantic import BaseModel
        from async_endpoint.handlers import JobContext, handler

        class Add(BaseModel):
            a: int

        @handler("add", on_interrupt="fail")
        def run(params: Add, ctx: JobContext) -> int:
            return params.a + 1
        """,
    )
    catalog = load_catalog([name], Settings())
    assert catalog.types["add"].on_interrupt == "fail"
    assert catalog.parse({"type": "add", "a": 1}).type == "add"
    with pytest.raises(InvalidTask):
        catalog.parse({"type": "add", "a": 1, "more": 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemError('no')", "no"),
        ("from async_endpoint.handlers.echo import Echo\n" + "X", "NameError"),
    ],
)
def test_a_module_that_cannot_be_imported_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    name = module(tmp_path, monkeypatch, "bad_handlers", text)
    with pytest.raises(StartError, match=f"bad_handlers.*{reason}"):
        load_catalog([name], Settings())


def test_two_handlers_of_one_name_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        from pydantic import BaseModel
        from async_endpoint.handlers import handler

        @handler("echo")
        async def run(params: BaseModel, ctx): ...
        """
    with pytest.raises(StartError, match="'echo' of module 'twice' is defined already"):
        load_catalog([module(tmp_path, monkeypatch, "twice", text)], Settings())


@pytest.mark.parametrize("name", ["", "-a", "a b", "a" * 64, "ä"])
def test_bad_names_of_types_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a task type"):
        handler(name)


def test_a_handler_needs_a_model_and_a_context() -> None:
    class Taken(BaseModel):
        options: int

    async def one(params: Params) -> None: ...
    async def untyped(params, ctx: JobContext) -> None: ...  # type: ignore[no-untyped-def]
    async def taken(params: Taken, ctx: JobContext) -> None: ...

    one.__annotations__ = {"params": Params}
    taken.__annotations__ = {"params": Taken}
    for function, reason in (
        (one, "1 parameters"),
        (untyped, "annotate 'params'"),
        (taken, "'options' already"),
    ):
        with pytest.raises(TypeError, match=reason):
            handler("bad")(function)


def test_only_a_plain_function_is_instant() -> None:
    async def run(params: Params, ctx: JobContext) -> None: ...

    run.__annotations__ = {"params": Params}
    with pytest.raises(TypeError, match="must be a plain def"):
        handler("bad", instant=True)(run)


# --- what handlers get ---


async def run_in_thread(function: Any, task: dict[str, Any] | None = None) -> Any:
    function.__annotations__ = {"params": Params}
    attempt: Any = Attempt(task)
    return await bound(handler("test")(function)).run(attempt)


async def test_a_plain_function_runs_in_a_thread_of_its_own() -> None:
    def run(params: Params, ctx: JobContext) -> tuple[str, bool]:
        return params.text, threading.current_thread() is threading.main_thread()

    assert await run_in_thread(run, {"text": "hello"}) == ("hello", False)


@pytest.mark.parametrize("exc", [ValueError("no"), StopIteration(1), SystemExit(1)])
async def test_what_a_thread_raises_reaches_the_job(exc: BaseException) -> None:
    def run(params: Params, ctx: JobContext) -> None:
        raise exc

    with pytest.raises((ValueError, RuntimeError, SystemExit)):
        await run_in_thread(run)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("plain 100%",), "plain 100%"),
        (("%d of %d", 1, 2), "1 of 2"),
        (("%(a)s", {"a": 1}), "1"),
        (({"a": 1},), "{'a': 1}"),
    ],
)
async def test_lines_are_told_as_logging_would_write_them(args: tuple[Any, ...], line: str) -> None:
    attempt: Any = Attempt()
    JobContext(attempt, Resources(Settings(), None, None)).log.warning(*args)  # type: ignore[arg-type]
    assert attempt.told == [("job", "warning", line)]
