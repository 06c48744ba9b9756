"""A task type: the function that executes its tasks, and the model that validates them."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, create_model

from ..errors import JobError, ServiceError
from ..jobs.model import DEFAULT_OPTIONS, JobOptions
from .context import JobContext, Resources

if TYPE_CHECKING:
    from ..jobs.attempts import Attempt
    from ..settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ATTRIBUTE = "__task_type__"

Function = Callable[[Any, JobContext], Any]


class TaskType(NamedTuple):
    """One kind of task.

    Attributes:
        name: What a task's `type` says.
        function: Executes a task: `async def` on the event loop, `def` in a thread of its own unless it is instant.
        model: Validates a whole task: the handler's parameters, `type` and `options`.
        effect_free: It changes nothing outside, so it may start before its job's acceptance is on disk.
        instant: It returns at once, so that it needs no thread and no task.
        on_interrupt: Whether a job that ran when the process ended is tried again or failed.
        admit: Raises a ServiceError where the settings do not allow this type.
    """

    name: str
    function: Function
    model: type[BaseModel]
    effect_free: bool
    instant: bool
    on_interrupt: Literal["retry", "fail"]
    admit: Callable[[Settings], None] | None


def handler(
    name: str,
    *,
    effect_free: bool = False,
    instant: bool = False,
    on_interrupt: Literal["retry", "fail"] = "retry",
    admit: Callable[[Settings], None] | None = None,
) -> Callable[[Function], Function]:
    """Make a function the handler of a task type.

    The function takes `(params, ctx)`: `params` is annotated with a pydantic model, which validates a task
    before it is accepted; `ctx` is a JobContext. It returns the result, which must be JSON. To fail, it raises.

    Args:
        name: The task type: 1 to 63 letters, digits, `.`, `_`, `-`.
        effect_free: It changes nothing outside itself, so it may run before its job is on disk.
        instant: It is a plain `def`, effect-free, and returns within microseconds: it runs on the event loop.
        on_interrupt: "retry" starts a job again that ran when the process ended; "fail" fails it.
        admit: Called with the settings at each submission; raises a ServiceError to refuse the type.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a task type: use 1 to 63 letters, digits, '.', '_', '-'")

    def register(function: Function) -> Function:
        if instant and inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is instant, so it must be a plain def")
        task_type = TaskType(
            name,
            function,
            _task_model(name, _params_model(function)),
            effect_free=effect_free or instant,
            instant=instant,
            on_interrupt=on_interrupt,
            admit=admit,
        )
        setattr(function, _ATTRIBUTE, task_type)
        return function

    return register


def task_type_of(candidate: object) -> TaskType | None:
    """The task type that a function was made the handler of."""
    found = getattr(candidate, _ATTRIBUTE, None) if inspect.isfunction(candidate) else None
    return found if isinstance(found, TaskType) else None


class BoundHandler:
    """A task type with what its handler needs to run."""

    def __init__(self, task_type: TaskType, resources: Resources) -> None:
        self.effect_free = task_type.effect_free
        self.instant = task_type.instant
        self.on_interrupt = task_type.on_interrupt
        self._function = task_type.function
        self._model = task_type.model
        self._admit = task_type.admit
        self._resources = resources
        self._is_async = inspect.iscoroutinefunction(task_type.function)

    async def run(self, attempt: Attempt) -> object:
        """Execute the attempt's task, unless the settings have come to refuse its type since it was accepted."""
        if self.instant:
            return self.run_now(attempt)
        params, context = self._arguments(attempt)
        if self._is_async:
            return await self._function(params, context)
        return await _in_thread(self._function, params, context)

    def run_now(self, attempt: Attempt) -> object:
        """The same, for an instant handler."""
        return self._function(*self._arguments(attempt))

    def _arguments(self, attempt: Attempt) -> tuple[object, JobContext]:
        if self._admit is not None:
            try:
                self._admit(self._resources.settings)
            except ServiceError as exc:
                raise JobError(exc.detail, retryable=False) from None
        params = attempt.params
        if params is None:
            params = self._model.model_validate_json(attempt.job.task)
        return params, JobContext(attempt, self._resources)


async def _in_thread(function: Function, params: object, context: JobContext) -> object:
    """Run in a thread that nobody else needs: one that never returns holds up no other job and no exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], value: object) -> None:
        if not future.done():
            set_outcome(value)

    def work() -> None:
        outcome: tuple[Callable[[Any], None], object]
        try:
            outcome = (future.set_result, function(params, context))
        except StopIteration as exc:
            outcome = (future.set_exception, RuntimeError(f"the handler raised {exc!r}"))
        except BaseException as exc:
            outcome = (future.set_exception, exc)
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name=f"job {context.job_id}", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait(
            [future]
        )  # it sees `ctx.cancelled`, and has the time that every handler has to clean up
        raise


def _params_model(function: Function) -> type[BaseModel]:
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2:
        raise TypeError(
            f"{function.__qualname__} takes {len(parameters)} parameters; a handler takes (params, ctx)"
        )
    model = parameters[0].annotation
    if isinstance(model, str):
        model = eval(model, function.__globals__)  # noqa: S307 - the handler's own annotation
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise TypeError(f"annotate {parameters[0].name!r} of {function.__qualname__} with a pydantic model")
    return model


def _task_model(name: str, params: type[BaseModel]) -> type[BaseModel]:
    taken = {"type", "options"} & set(params.model_fields)
    if taken:
        raise TypeError(f"task type {name!r}: every task has a member {taken.pop()!r} already")
    return create_model(
        f"{''.join(part.capitalize() for part in re.split('[._-]', name))}Task",
        __base__=params,
        __cls_kwargs__={"extra": "forbid"},
        __doc__=params.__doc__,
        type=(Literal[name], name),  # type: ignore[arg-type]
        options=(JobOptions, DEFAULT_OPTIONS),
    )
