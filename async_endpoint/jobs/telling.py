"""Who is told what of jobs: the metrics, the log, the feed, and those whom a transition owes something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..logs import LineLog
from .clock import now_ms
from .events import log_line, transition_data
from .feed import Feed, Transition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .database import Change
    from .metrics import Metrics
    from .model import Job

log = LineLog(__name__)


class Step:
    """A version of a job on its way into the store.

    Attributes:
        job: The version.
        event: What it is told as; None for a version that nobody is told of.
        last_id: The id of the last event of its log that is committed with it; None while that is implied.
        then: Called once it is committed.
    """

    __slots__ = ("event", "job", "last_id", "then")

    def __init__(
        self,
        job: Job,
        event: str | None,
        last_id: int | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        self.job = job
        self.event = event
        self.last_id = last_id
        self.then = then


class Outbox(Protocol):
    """Something that a job's transitions owe to others, written in the same transaction."""

    def concerns(self, job: Job) -> bool:
        """Whether any transition of this job may owe something; asked once, when the job begins to live."""

    def changes(self, job: Job, event: str) -> Sequence[Change]:
        """What this transition owes."""

    def committed(self, job: Job, event: str) -> None:
        """It is in the store now: work it off."""


class Observer(Protocol):
    """Is told of every job that has ended. What it does about one follows from the store, also after a crash."""

    def ended(self, job: Job) -> None:
        """The job's end is committed. They come in the order of their row numbers."""


class Telling:
    """Tells of transitions once they are committed.

    Args:
        metrics: What is counted.
        outboxes: What transitions owe.
        observers: Who is told of jobs that have ended.
    """

    def __init__(
        self, metrics: Metrics, outboxes: Iterable[Outbox] = (), observers: Iterable[Observer] = ()
    ) -> None:
        self.feed = Feed()
        self._metrics = metrics
        self._outboxes = tuple(outboxes)
        self._observers = tuple(observers)

    def outboxes(self, job: Job) -> tuple[Outbox, ...]:
        """Those that the job concerns."""
        return tuple([outbox for outbox in self._outboxes if outbox.concerns(job)])

    def committed(self, steps: Iterable[Step], outboxes: Iterable[Outbox]) -> None:
        """These steps of a job are committed, all at once; the log has a line for the last one."""
        told = None
        for step in steps:
            if step.event is not None:
                self._tell(step.job, step.event, outboxes)
                told = step
            if step.then is not None:
                step.then()
        if told is not None and told.event is not None and log.enabled:
            log.write(log_line(told.job, told.event))

    def _tell(self, job: Job, event: str, outboxes: Iterable[Outbox]) -> None:
        self._metrics.jobs[job.status, job.type] += 1
        for outbox in outboxes:
            outbox.committed(job, event)
        if self.feed:
            at = job.started_at if event == "started" else job.created_at if event == "created" else now_ms()
            self.feed.publish(Transition(event, transition_data(job, at)))

    def ended(self, job: Job) -> None:
        """The end of a job is committed."""
        for observer in self._observers:
            observer.ended(job)
