from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.jobs import queue as queue_module
from async_endpoint.jobs.clock import iso
from async_endpoint.jobs.model import Job, parse_options
from async_endpoint.jobs.queue import JobQueue, Line

if TYPE_CHECKING:
    import pytest

LIMITS = {None: 1, "one": 1, "two": 2}
"""Those of the keys; jobs of any further key each bring their own."""


class Clock:
    """Seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(number: int, *, next_attempt_at: int | None = None, **options: Any) -> Job:
    return Job(
        f"{number:04d}",
        "echo",
        b"{}",
        0,
        options=parse_options({"options": options}),
        next_attempt_at=next_attempt_at,
    )


def keyed(number: int, key: str | None, priority: int = 0, **more: Any) -> Job:
    limit = LIMITS.get(key, 1 + number % 3)
    group: dict[str, Any] = {} if key is None else {"concurrencyKey": key, "concurrencyLimit": limit}
    return job(number, priority=priority, **group, **more)


def popped(queue: JobQueue) -> list[str | None]:
    return list(iter(queue.pop, None))


class NaiveQueue:
    """Looks through all jobs each time."""

    def __init__(self) -> None:
        self.pending: dict[str, tuple[float, Job]] = {}
        self.running: dict[str, Job] = {}

    def next(self, now: float) -> str | None:
        busy = Counter(job.options.concurrency_key for job in self.running.values())
        due = [job for at, job in self.pending.values() if at <= now]
        blocked = set()
        for job in sorted(due, key=lambda job: (-job.options.priority, job.id)):
            key = job.options.concurrency_key
            if key is None or (key not in blocked and busy[key] < (job.options.concurrency_limit or 1)):
                return job.id
            blocked.add(key)
        return None


class Pair:
    """The queue beside its model; every step is made in both."""

    def __init__(self) -> None:
        self.clock, self.model = Clock(), NaiveQueue()
        self.queue = JobQueue(self.clock)
        self.made = 0

    def push(self, key: str | None, priority: int, delay: int) -> None:
        self.made += 1
        self._push(keyed(self.made, key, priority), delay)

    def _push(self, job: Job, delay: int) -> None:
        job = job.evolve(next_attempt_at=delay * 1000 if delay else None)
        self.model.pending[job.id] = (self.clock.now + delay, job)
        self.queue.push(job, 0)

    def pop(self) -> bool:
        expected = self.model.next(self.clock.now)
        assert self.queue.pop() == expected
        if expected is not None:
            self.model.running[expected] = self.model.pending.pop(expected)[1]
        return expected is not None

    def end(self, again_after: int | None = None) -> None:
        if self.model.running:
            _, job = self.model.running.popitem()
            self.queue.release(job)
            if again_after is not None:
                self._push(job, again_after)

    def remove(self, place: int) -> None:
        if self.model.pending:
            job_id = list(self.model.pending)[place % len(self.model.pending)]
            self.queue.remove(self.model.pending.pop(job_id)[1])

    def wait(self, seconds: int) -> None:
        self.clock.now += seconds
        self.queue.promote()

    def check(self) -> None:
        assert len(self.queue) == len(self.model.pending)
        assert self.queue.ready == (self.model.next(self.clock.now) is not None)

    def drain(self) -> None:
        self.wait(1000)
        while self.pop() or self.model.running:
            self.end()
        assert len(self.queue) == 0
        assert self.queue.next_wake() is None
        assert self.queue._keys == {}


STEP = st.one_of(
    st.tuples(
        st.just("push"),
        st.sampled_from([*LIMITS, "mixed"]),
        st.integers(-1, 1),
        st.sampled_from([0, 0, 0, 5]),
    ),
    st.sampled_from([("pop",), ("end",), ("end", 0), ("end", 5), ("wait", 1), ("wait", 5)]),
    st.tuples(st.just("remove"), st.integers(0, 9)),
)


@given(st.lists(STEP, max_size=50))
def test_jobs_start_as_in_a_queue_that_looks_through_all_of_them(steps: list[Any]) -> None:
    pair = Pair()
    for name, *arguments in steps:
        getattr(pair, name)(*arguments)
        pair.check()
    pair.drain()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1500), st.booleans()), max_size=8))
def test_a_long_line_stays_in_order(steps: list[tuple[bool, int, bool]]) -> None:
    """Thousands of ids, also such that belong before those that were taken already."""
    line, model, made = Line(), list[str](), 0
    for is_add, count, early in steps:
        for _ in range(count):
            if is_add:
                made += 1
                line.add(f"{'a' if early else 'b'}{made:06d}")
                model.append(f"{'a' if early else 'b'}{made:06d}")
            elif model:
                model.sort()
                assert line.pop() == model.pop(0)
        model.sort()
        assert len(line) == len(model)
        assert [line.place(one) for one in model[::97]] == list(range(0, len(model), 97))
    if model:
        middle = model.pop(len(model) // 2)
        assert [line.remove(middle), line.remove(middle), line.place(middle)] == [True, False, None]
    assert [line.pop() for _ in range(len(line))] == model


def test_the_position_is_the_number_of_the_start() -> None:
    queue = JobQueue()
    jobs = [job(number, priority=number % 3) for number in range(9)]
    for one in jobs:
        queue.push(one, 0)
    positions = {one.id: queue.position(one) for one in jobs}
    assert sorted(positions.values()) == list(range(1, 10))
    assert popped(queue) == sorted(positions, key=positions.__getitem__)


def test_of_mixed_limits_the_stricter_one_is_kept() -> None:
    queue = JobQueue()
    queue.push(job(0, concurrencyKey="mixed", concurrencyLimit=1), 0)
    queue.push(job(1, concurrencyKey="mixed", concurrencyLimit=2, priority=1), 0)
    assert popped(queue) == ["0001"]


def test_a_higher_priority_takes_the_place_of_one_that_has_not_started() -> None:
    queue = JobQueue()
    for number, priority in enumerate([0, 0, 5, 9]):
        queue.push(keyed(number, "two", priority), 0)
    assert popped(queue) == ["0003", "0002"]


def test_a_small_limit_waits_for_the_others_of_its_key() -> None:
    queue = JobQueue()
    wide = [job(number, concurrencyKey="k", concurrencyLimit=3) for number in (0, 1)]
    alone = job(2, concurrencyKey="k")
    for one in [*wide, alone, job(3)]:
        queue.push(one, 0)
    assert popped(queue) == ["0000", "0001", "0003"]
    queue.release(wide[0])
    assert not queue.ready
    queue.release(wide[1])
    assert popped(queue) == ["0002"]


def test_a_delay_is_what_was_left_of_it() -> None:
    clock = Clock()
    queue = JobQueue(clock)
    queue.push(job(0, next_attempt_at=7_000), 5_000)
    queue.push(job(1, next_attempt_at=7_000), 9_000)
    queue.promote()
    assert popped(queue) == ["0001"]
    assert queue.next_wake() == 2
    clock.now += 2
    queue.promote()
    assert popped(queue) == ["0000"]


def test_what_went_away_while_it_waited_for_its_time_does_not_come_back() -> None:
    clock = Clock()
    queue = JobQueue(clock)
    gone = keyed(0, "one", next_attempt_at=1000)
    queue.push(gone, 0)
    queue.remove(gone)
    queue.push(gone.evolve(next_attempt_at=3000), 0)
    clock.now += 1
    queue.promote()
    assert (queue.ready, len(queue)) == (False, 1)
    clock.now += 2
    queue.promote()
    assert popped(queue) == ["0000"]


def test_a_start_date_follows_the_wall_clock_and_is_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [1_790_000_000_000]
    monkeypatch.setattr(queue_module, "now_ms", lambda: wall[0])
    queue = JobQueue(Clock())
    at = wall[0] + 3_600_000
    queue.push(job(0, startAt=iso(at), next_attempt_at=at), wall[0])
    assert queue.next_wake() == 1
    wall[0] = at - 500
    queue.promote()
    assert (queue.ready, queue.next_wake()) == (False, 0.5)
    wall[0] = at
    queue.promote()
    assert popped(queue) == ["0000"]
