"""The event log of a job: ids from 1, in order, read by streams.

A job that ran once and said nothing has a log that follows from its snapshot, so it is not stored. Retries,
progress and log lines make it explicit: then the table `events` holds it in chunks, one per commit. The terminal
event carries the snapshot and is never stored twice: it is always the one after the last of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json, to_json

from .clock import iso, now_ms
from .database import Change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Job

_KEPT_REPORTS = 1000
"""Progress and log lines kept of one job; when there are more, the older half makes room."""

_REPORTS = frozenset({"progress", "log"})


class Event(NamedTuple):
    """One event; `data` is JSON text."""

    id: int
    name: str
    data: bytes


def transition_data(job: Job, at: int | None, **details: Any) -> bytes:
    """The data of a transition: the whole snapshot for a terminal one, else the few facts that changed."""
    if job.terminal:
        return job.snapshot_json()
    facts = {
        "jobId": job.id,
        "status": job.status,
        "attempt": job.attempt,
        "at": iso(at or job.created_at),
    }
    return to_json(facts | details)


def log_line(job: Job, event: str) -> str:
    """A transition for the service's log; `ms` is how long the job ran or, before its end, its age."""
    if job.finished_at is not None:
        ms = job.finished_at - (job.started_at or job.created_at)
    else:
        ms = now_ms() - job.created_at
    return f"job={job.id} type={job.type} event={event} status={job.status} attempt={job.attempt} ms={max(0, ms)}"


def implied_events(job: Job) -> list[Event]:
    """The log of a job whose log is not stored."""
    created = job.evolve(status="pending", attempt=1, finished_at=None)
    events = [Event(1, "created", transition_data(created, job.created_at))]
    if job.started_at is not None:
        started = job.evolve(status="running", finished_at=None)
        events.append(Event(2, "started", transition_data(started, job.started_at)))
    return events


def count_implied(job: Job) -> int:
    """How many events `implied_events` has."""
    return 1 if job.started_at is None else 2


def events_after(job: Job, log: JobLog | None, after: int) -> list[Event]:
    """The committed events with higher ids than `after`; the last one is terminal if the job is."""
    events = implied_events(job) if log is None else log.committed()
    if job.terminal:
        last = events[-1].id if events else 0
        events = [*events, Event(last + 1, job.status, job.snapshot_json())]
    return [event for event in events if event.id > after]


class JobLog:
    """The explicit log of one job. Events become visible once the commit with their chunk has succeeded."""

    __slots__ = ("_chunks", "_events", "_job_id", "_reports", "_stored", "_visible")

    def __init__(self, job_id: str, events: Iterable[Event], visible: int | None = None) -> None:
        self._job_id = job_id
        self._events = list(events)
        self._visible = self.last_id if visible is None else visible
        self._reports = sum(event.name in _REPORTS for event in self._events)
        self._stored = 0
        self._chunks: list[str] = []

    @classmethod
    def load(cls, job_id: str, chunks: list[tuple[str, bytes]]) -> JobLog | None:
        """A log from its stored chunks; None when there are none."""
        if not chunks:
            return None
        log = cls(job_id, (_parse(line) for _, chunk in chunks for line in chunk.splitlines()))
        log._stored = len(log._events)
        log._chunks = [key for key, _ in chunks]
        return log

    @property
    def last_id(self) -> int:
        """The id of the newest event, committed or not."""
        return self._events[-1].id if self._events else 0

    def append(self, name: str, data: bytes) -> None:
        """Add an event."""
        self._events.append(Event(self.last_id + 1, name, data))
        self._reports += name in _REPORTS

    def changes(self) -> list[Change]:
        """What stores the events added since the last call."""
        changes = []
        if self._reports > _KEPT_REPORTS:
            self._drop_older_reports()
            changes = [Change("events", key, None) for key in self._chunks]
            self._chunks.clear()
            self._stored = 0
        fresh = self._events[self._stored :]
        if fresh:
            key = f"{self._job_id}/{fresh[0].id:09d}"
            self._chunks.append(key)
            changes.append(Change("events", key, b"\n".join(map(_format, fresh))))
        self._stored = len(self._events)
        return changes

    def show(self, last_id: int) -> None:
        """Make the events up to this id visible."""
        self._visible = max(self._visible, last_id)

    def committed(self) -> list[Event]:
        """The visible events."""
        return [event for event in self._events if event.id <= self._visible]

    def _drop_older_reports(self) -> None:
        """Replace the older half of the reports by a marker that bears the last dropped id."""
        excess = self._reports - _KEPT_REPORTS // 2
        dropped: list[Event] = []
        kept: list[Event] = []
        for event in self._events:
            droppable = event.name in _REPORTS or event.name == "dropped"
            (dropped if droppable and len(dropped) < excess else kept).append(event)
        marker = Event(dropped[-1].id, "dropped", to_json({"count": _count(dropped)}))
        self._events = sorted([*kept, marker])
        self._reports = sum(event.name in _REPORTS for event in self._events)


def _count(dropped: list[Event]) -> int:
    return sum(from_json(event.data)["count"] if event.name == "dropped" else 1 for event in dropped)


def _format(event: Event) -> bytes:
    return b'[%d,"%b",%b]' % (event.id, event.name.encode(), event.data)


def _parse(line: bytes) -> Event:
    number, name, data = from_json(line)
    return Event(number, name, to_json(data))
