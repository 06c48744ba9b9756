"""The catalog: every task type that this process knows, found by import."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import FieldError, InvalidTask, StartError
from ..jobs.acceptance import Task
from ..jobs.jsontext import encode
from ..masking import masked
from ..outbound.receivers import receiver_faults
from .tasktype import BoundHandler, TaskType, task_type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..jobs.attempts import Handler
    from ..jobs.model import JobOptions
    from ..settings import Settings
    from .context import Resources

DEFAULT_TYPE = "echo"


class Catalog:
    """Task types by name; turns what a client sent into tasks."""

    def __init__(self, types: Mapping[str, TaskType], settings: Settings) -> None:
        self.types = dict(types)
        self._settings = settings

    def bind(self, resources: Resources) -> dict[str, Handler]:
        """The handlers, ready to run."""
        return {name: BoundHandler(task_type, resources) for name, task_type in self.types.items()}

    def parse(self, task: Any) -> Task:
        """Validate a task.

        Raises:
            InvalidTask: With every fault and its path.
            ServiceError: The settings do not allow its type.
        """
        task_type = self._admitted(task)
        try:
            text = encode(task)
        except ValueError as exc:
            raise InvalidTask(
                f"The task is not valid: {exc}.", [FieldError(path="", message=str(exc))]
            ) from None
        try:
            model = task_type.model.model_validate_json(text)
        except ValidationError as exc:
            raise InvalidTask(*_explain(exc)) from None
        options: JobOptions = model.options  # type: ignore[attr-defined]
        if options.webhooks:
            _check_receivers(options)
        shown = masked(task)
        return Task(task_type.name, text, None if shown is None else encode(shown), options, params=model)

    def admit(self, name: str) -> None:
        """Refuse tasks of a type that is not there or that the settings do not allow; see `parse`."""
        self._admitted({"type": name})

    def takes_payload(self, name: str) -> bool:
        """Whether a task type has a parameter `payload`."""
        return name in self.types and "payload" in self.types[name].model.model_fields

    def digest(self, tasks: Iterable[Task]) -> str:
        """What stands for tasks that mean the same, whatever their spelling."""
        digest = hashlib.sha256()
        for task in tasks:
            model = self.types[task.type].model.model_validate_json(task.text)
            meaning = model.model_dump(mode="json", fallback=str)
            digest.update(json.dumps(meaning, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    def _admitted(self, task: Any) -> TaskType:
        task_type = self._type_of(task)
        if task_type.admit is not None:
            task_type.admit(self._settings)
        return task_type

    def _type_of(self, task: Any) -> TaskType:
        if not isinstance(task, dict):
            message = f'a task is a JSON object such as {{"type": "{DEFAULT_TYPE}"}}'
            raise InvalidTask(f"The task is not valid: {message}.", [FieldError(path="", message=message)])
        name = task.get("type", DEFAULT_TYPE)
        task_type = self.types.get(name) if isinstance(name, str) else None
        if task_type is None:
            message = f"unknown task type; this service knows {', '.join(sorted(self.types))}"
            raise InvalidTask(f"type: {message}.", [FieldError(path="type", message=message)])
        return task_type


def load_catalog(modules: Iterable[str], settings: Settings) -> Catalog:
    """Import the handlers of this package and of the named modules; raises StartError where that fails."""
    package = importlib.import_module(__package__)
    own = [f"{__package__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    types: dict[str, TaskType] = {}
    for module in (*own, *modules):
        for task_type in _types_in(module):
            known = types.setdefault(task_type.name, task_type)
            if known is not task_type:
                raise StartError(f"The task type {task_type.name!r} of module {module!r} is defined already.")
    return Catalog(types, settings)


def _types_in(module: str) -> list[TaskType]:
    try:
        members = vars(importlib.import_module(module)).values()
    except Exception as exc:
        raise StartError(
            f"ASYNC_ENDPOINT_HANDLERS: the module {module!r} cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc
    return [task_type for member in list(members) if (task_type := task_type_of(member)) is not None]


def _check_receivers(options: JobOptions) -> None:
    errors = [
        FieldError(path=f"options.webhooks.{place}.{member}", message=message)
        for place, webhook in enumerate(options.webhooks)
        for member, message in receiver_faults(webhook)
    ]
    if errors:
        raise InvalidTask(_summary(errors), errors)


def _explain(exc: ValidationError) -> tuple[str, list[FieldError]]:
    errors = [
        FieldError(path=".".join(map(str, fault["loc"])), message=fault["msg"].removeprefix("Value error, "))
        for fault in exc.errors(include_url=False, include_context=False, include_input=False)
    ]
    return _summary(errors), errors


def _summary(errors: list[FieldError]) -> str:
    text = "; ".join(f"{fault['path'] or 'task'}: {fault['message']}" for fault in errors[:10])
    return f"The task is not valid. {text}"
