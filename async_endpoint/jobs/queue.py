"""What may start next: priorities, due times and concurrency keys.

Holds ids only. A job is in one of three places: later (its time has not come), in the lane of its concurrency key
(others of the key are ahead of it or run), or ready. Nothing here waits or polls: `next_wake` says when to ask again.
"""

from __future__ import annotations

import heapq
import time
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from .clock import from_datetime, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .model import Job, JobOptions

_WALL_CLOCK_LOOK_SECONDS = 1.0
"""A set clock is not announced to anyone, so a `startAt` is looked at this often while one is waited for."""

_COMPACT_AFTER = 1024


class Line:
    """Ids in ascending order; cheap to append to, to take the first from, and to find a place in."""

    __slots__ = ("_head", "_ids")

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._ids) - self._head

    @property
    def first(self) -> str:
        """The smallest id."""
        return self._ids[self._head]

    def add(self, job_id: str) -> None:
        """Put an id in its place."""
        if not self._ids or job_id > self._ids[-1]:
            self._ids.append(job_id)
        else:
            insort(self._ids, job_id, lo=self._head)

    def pop(self) -> str:
        """Take the first."""
        job_id = self._ids[self._head]
        self._head += 1
        if self._head > _COMPACT_AFTER and self._head * 2 > len(self._ids):
            del self._ids[: self._head]
            self._head = 0
        return job_id

    def place(self, job_id: str) -> int | None:
        """How many are before this id; None when it is not here."""
        index = bisect_left(self._ids, job_id, lo=self._head)
        found = index < len(self._ids) and self._ids[index] == job_id
        return index - self._head if found else None

    def remove(self, job_id: str) -> bool:
        """Take this id out; says whether it was here."""
        place = self.place(job_id)
        if place is not None:
            del self._ids[self._head + place]
        return place is not None


class Lanes:
    """Lines by priority, highest first."""

    __slots__ = ("_lines", "_order", "_size")

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}
        self._order: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, job: Job) -> None:
        """Put a job behind those of its priority that were created before it."""
        rank = -job.options.priority
        line = self._lines.get(rank)
        if line is None:
            line = self._lines[rank] = Line()
            insort(self._order, rank)
        line.add(job.id)
        self._size += 1

    def peek(self) -> str | None:
        """Who is first."""
        return next((self._lines[rank].first for rank in self._order if self._lines[rank]), None)

    def pop(self) -> str | None:
        """Take the first."""
        for rank in self._order:
            if self._lines[rank]:
                self._size -= 1
                return self._lines[rank].pop()
        return None

    def remove(self, job: Job) -> bool:
        """Take a job out; says whether it was here."""
        line = self._lines.get(-job.options.priority)
        found = line is not None and line.remove(job.id)
        self._size -= found
        return found

    def place(self, job: Job) -> int | None:
        """How many are before this job; None when it is not here."""
        rank = -job.options.priority
        line = self._lines.get(rank)
        place = None if line is None else line.place(job.id)
        if place is None:
            return None
        return place + sum(len(self._lines[other]) for other in self._order if other < rank)


class KeyLane:
    """The jobs of one concurrency key: those that wait here, and those that are ready or run."""

    __slots__ = ("_jobs", "_out", "_waiting")

    def __init__(self) -> None:
        self._waiting = Lanes()
        self._jobs: dict[str, Job] = {}
        self._out: dict[str, Job] = {}

    def __bool__(self) -> bool:
        return bool(self._jobs or self._out)

    def add(self, job: Job) -> None:
        """Let a job wait here."""
        self._waiting.add(job)
        self._jobs[job.id] = job

    def next(self) -> Job | None:
        """Take out who may leave the lane now, by its own limit."""
        first = self._waiting.peek()
        if first is None or len(self._out) >= (self._jobs[first].options.concurrency_limit or 1):
            return None
        self._waiting.pop()
        job = self._out[first] = self._jobs.pop(first)
        return job

    def rivals(self, job: Job) -> list[Job]:
        """Those who left the lane and come after this job in the order of starts, the last one first."""
        if self._waiting.peek() != job.id:
            return []
        return sorted(
            (out for out in self._out.values() if _order(out) > _order(job)), key=_order, reverse=True
        )

    def room(self, limit: int) -> int:
        """How many new jobs could leave the lane at once, by this limit."""
        return 0 if self._jobs else max(0, limit - len(self._out))

    def take_back(self, job: Job) -> None:
        """Let a job wait here again."""
        del self._out[job.id]
        self.add(job)

    def waits(self, job: Job) -> bool:
        """Whether the job waits here."""
        return job.id in self._jobs

    def discard(self, job: Job) -> None:
        """Forget a job, wherever it stands."""
        self._out.pop(job.id, None)
        if self._jobs.pop(job.id, None) is not None:
            self._waiting.remove(job)


class JobQueue:
    """Pending jobs in the order in which they may start.

    Args:
        monotonic: The clock of delays and gaps, in seconds; a set wall clock does not move it.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ready = Lanes()
        self._keys: dict[str, KeyLane] = {}
        self._later: dict[str, float] = {}
        self._delays: list[tuple[float, str, Job]] = []
        self._dates: list[tuple[float, str, Job]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, job: Job, now: int) -> None:
        """Take a pending job in; one with `next_attempt_at` waits until then.

        A `startAt` follows the wall clock. Any other wait is counted on the monotonic clock: it is what is left at
        `now`, in milliseconds since the epoch.
        """
        self._size += 1
        if job.next_attempt_at is None:
            self._enter(job)
            return
        start_at = job.options.start_at
        if start_at is not None and from_datetime(start_at) == job.next_attempt_at:
            self._later[job.id] = job.next_attempt_at
            heapq.heappush(self._dates, (job.next_attempt_at, job.id, job))
            return
        due = self._monotonic() + max(0, job.next_attempt_at - now) / 1000
        self._later[job.id] = due
        heapq.heappush(self._delays, (due, job.id, job))

    def pop(self) -> str | None:
        """The id of the job to start now; its key is busy until `release`."""
        job_id = self._ready.pop()
        self._size -= job_id is not None
        return job_id

    @property
    def ready(self) -> bool:
        """Whether `pop` has one."""
        return len(self._ready) > 0

    @property
    def held(self) -> int:
        """How many may not start yet, whatever slots are free."""
        return self._size - len(self._ready)

    def startable(self, options: Iterable[JobOptions]) -> int:
        """How many new jobs with these options could start at once, were there slots for all."""
        rooms: dict[str, int] = {}
        count = 0
        for each in options:
            key = each.concurrency_key
            if each.delay_ms or each.start_at is not None:
                continue
            if key is not None:
                room = rooms.setdefault(key, self._keys.get(key, KeyLane()).room(each.concurrency_limit or 1))
                if room == 0:
                    continue
                rooms[key] -= 1
            count += 1
        return count

    def release(self, job: Job) -> None:
        """A popped job ended or went back: its concurrency key has room for another."""
        self._leave_key(job)

    def remove(self, job: Job) -> None:
        """A pending job will not start."""
        if self._later.pop(job.id, None) is not None:
            self._size -= 1
            return
        key = self._key_of(job)
        waited = key is not None and key.waits(job)
        self._size -= self._ready.remove(job) or waited
        self._leave_key(job)

    def promote(self) -> None:
        """Let those in whose time has come."""
        if self._delays:
            self._promote(self._delays, self._monotonic())
        if self._dates:
            self._promote(self._dates, now_ms())

    def next_wake(self) -> float | None:
        """In how many seconds `promote` should be called; None when nothing waits for a time."""
        wakes = []
        if self._delays:
            wakes.append(max(0.0, self._delays[0][0] - self._monotonic()))
        if self._dates:
            wakes.append(min(max(0.0, (self._dates[0][0] - now_ms()) / 1000), _WALL_CLOCK_LOOK_SECONDS))
        return min(wakes, default=None)

    def position(self, job: Job) -> int:
        """About how many starts from now this job's will be, counted from 1."""
        place = self._ready.place(job)
        return (len(self._ready) if place is None else place) + 1

    def _promote(self, heap: list[tuple[float, str, Job]], now: float) -> None:
        while heap and heap[0][0] <= now:
            due, job_id, job = heapq.heappop(heap)
            if self._later.get(job_id) == due:
                del self._later[job_id]
                self._enter(job)

    def _enter(self, job: Job) -> None:
        key = job.options.concurrency_key
        if key is None:
            self._ready.add(job)
            return
        lane = self._keys.setdefault(key, KeyLane())
        lane.add(job)
        for rival in lane.rivals(job):
            if self._ready.remove(rival):
                lane.take_back(rival)
        self._advance(lane)

    def _leave_key(self, job: Job) -> None:
        lane = self._key_of(job)
        if lane is None:
            return
        lane.discard(job)
        self._advance(lane)
        if not lane:
            del self._keys[job.options.concurrency_key or ""]

    def _key_of(self, job: Job) -> KeyLane | None:
        key = job.options.concurrency_key
        return None if key is None else self._keys.get(key)

    def _advance(self, lane: KeyLane) -> None:
        while (job := lane.next()) is not None:
            self._ready.add(job)


def _order(job: Job) -> tuple[int, str]:
    return -job.options.priority, job.id
