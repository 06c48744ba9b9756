"""What a handler is given beside its parameters."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..jobs.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import aiohttp

    from ..jobs.attempts import Attempt
    from ..settings import Settings

_logger = logging.getLogger(__name__)
_MAKING_OUTPUTS = threading.Lock()


class Resources(NamedTuple):
    """What all handlers share."""

    settings: Settings
    http: aiohttp.ClientSession
    raw_http: aiohttp.ClientSession


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines also enter the job's event log."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(_logger)
        self._attempt = attempt

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line to the job's event log and, where the level asks for it, to the service's log."""
        record = logging.LogRecord("", level, "", 0, msg, args, None)
        self._attempt.reports.log(self._attempt.job.id, record.levelname.lower(), record.getMessage())
        super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Name the job in the service's log."""
        return f"job={self._attempt.job.id} {msg}", kwargs


class JobContext:
    """One attempt of a job, as its handler sees it.

    Attributes:
        settings: The service's settings.
        http: A client session that cannot reach private addresses and follows no redirects.
        raw_http: The same, but bodies come as they were sent, still in their content coding.
    """

    def __init__(self, attempt: Attempt, resources: Resources) -> None:
        self._attempt = attempt
        self.settings = resources.settings
        self.http = resources.http
        self.raw_http = resources.raw_http
        self._loop = asyncio.get_running_loop()
        self._made_outputs: Outputs | None = None

    @cached_property
    def log(self) -> JobLogger:
        """A logger; its lines go to the job's event stream as well."""
        return JobLogger(self._attempt)

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self._attempt.job.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt.job.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the attempt will be ended, in UTC; None without a time limit."""
        at = self._attempt.deadline
        return None if at is None else datetime.fromtimestamp(at / 1000, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was told to stop; a handler in a thread should look now and then and return."""
        return self._attempt.stop_reason is not None

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is (0…1) and what it does; cheap enough for every turn of a loop."""
        self._attempt.reports.progress(self.job_id, fraction, message)

    def push_data(self, data: object) -> None:
        """Append an item, or every item of a list, to the job's dataset.

        It is durable with the job's end at the latest, and counts only if this is the job's last attempt.
        From any thread.

        Raises:
            JobError: It is not JSON, or more than the setting `maxResultBytes` allows.
        """
        self._outputs.push(data)

    def set_value(self, key: str, value: object, content_type: str | None = None) -> None:
        """Store a record in the job's key-value store: bytes, text, or JSON; see `push_data`.

        Args:
            key: 1 to 256 letters, digits and `!-_.'()`; `OUTPUT` takes the place of the result there.
            value: The record.
            content_type: Its media type; made from the value where it is absent.
        """
        self._outputs.set(key, value, content_type)

    @property
    def _outputs(self) -> Outputs:
        """Made when first needed: most jobs store nothing."""
        with _MAKING_OUTPUTS:
            if self._made_outputs is None:
                attempt, limit = self._attempt, self.settings.max_result_bytes
                self._made_outputs = Outputs(attempt.job, attempt.reports.put, self._loop, limit)
            return self._made_outputs
