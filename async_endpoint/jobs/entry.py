"""One job that is alive: its versions, its commits, and who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempts import Attempt
    from .commits import Write
    from .database import Change
    from .events import JobLog
    from .model import Job
    from .telling import Outbox, Step


class Entry:
    """A job that is alive.

    Attributes:
        job: Its newest version.
        published: Its newest committed version, which is what everybody sees; None until it is accepted.
        accept: The commit of its acceptance, while that has not succeeded.
        write: The commit of its newest version.
        steps: What goes with that commit, until it starts; later steps need another one.
        outboxes: What its transitions owe something.
        params: What its handler is given, until it starts; None where that has to be made from its task.
        attempt: Who works on it.
        ended: Set when its end is committed, or when nobody shall wait any longer.
        news: Set when its log has something new.
    """

    __slots__ = (
        "accept",
        "attempt",
        "ended",
        "expiry",
        "job",
        "log",
        "news",
        "outboxes",
        "params",
        "published",
        "steps",
        "write",
    )

    def __init__(self, job: Job, published: Job | None = None) -> None:
        self.job = job
        self.published = published
        self.accept: Write | None = None
        self.write: Write | None = None
        self.steps: list[Step] | None = None
        self.outboxes: tuple[Outbox, ...] = ()
        self.params: object = None
        self.attempt: Attempt | None = None
        self.ended: asyncio.Event | None = None
        self.news: asyncio.Event | None = None
        self.log: JobLog | None = None
        self.expiry: asyncio.TimerHandle | None = None

    def owed(self, job: Job, event: str) -> list[Change]:
        """What a transition owes; to be written with it."""
        if not self.outboxes:
            return []
        return [change for outbox in self.outboxes for change in outbox.changes(job, event)]

    def subscribe(self) -> asyncio.Event:
        """An event that is set at the next news."""
        self.news = self.news or asyncio.Event()
        return self.news

    def wake(self, *, ended: bool) -> None:
        """Tell the followers that there is news, and the waiters that their wait is over."""
        if self.news is not None:
            self.news.set()
            self.news = None
        if ended and self.ended is not None:
            self.ended.set()

    def cancel_expiry(self) -> None:
        """It has started or ended, so it cannot expire any more."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
