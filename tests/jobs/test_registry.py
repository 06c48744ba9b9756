from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import (
    Draining,
    IdempotencyConflict,
    InvalidBatch,
    JobError,
    JobNotFinished,
    JobNotFound,
    QueueFull,
    StoreUnavailable,
)
from async_endpoint.jobs.clock import iso
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.dispatcher import Limits
from async_endpoint.jobs.idempotency import Idempotency
from async_endpoint.jobs.records import decode
from tests.jobs.virtual import COMMIT_SECONDS, DAY_MS, Process, Scripted, WallClock, task_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from async_endpoint.jobs.attempts import Attempt
    from async_endpoint.jobs.model import Job


class World:
    """One process after the other, and what their handlers did."""

    def __init__(self, folder: Path, wall: WallClock) -> None:
        self.folder, self.wall = folder, wall
        self.lives = 0
        self.ran: list[Any] = []
        self.now_running: Counter[Any] = Counter()
        self.most_running: Counter[Any] = Counter()
        self.limits = Limits()
        self.gap: Any = None
        self.process = self.begin(folder / "0")

    def begin(self, folder: Path, **limits: Any) -> Process:
        self.limits = self.limits._replace(**limits)
        handlers = {
            "plain": Scripted(self.work),
            "free": Scripted(self.work, effect_free=True),
            "once": Scripted(self.work, on_interrupt="fail"),
            "instant": Scripted(self.work_now, instant=True),
        }
        return Process(folder, self.wall, handlers, limits=self.limits)

    def restart(self, grace: float = 0, **limits: Any) -> None:
        self.process.stop(grace)
        self.process = self.begin(self.process.folder, **limits)

    def crash(self) -> None:
        self.lives += 1
        self.process.crash(self.folder / str(self.lives))
        self.process = self.begin(self.folder / str(self.lives))

    async def work(self, attempt: Attempt) -> Any:
        task = json.loads(attempt.job.task)
        self.ran.append(task.get("name"))
        group = task.get("options", {}).get("concurrencyKey")
        self.now_running[group] += 1
        self.most_running[group] = max(self.most_running[group], self.now_running[group])
        try:
            return await self.act(task, attempt)
        finally:
            self.now_running[group] -= 1

    def work_now(self, attempt: Attempt) -> Any:
        task = json.loads(attempt.job.task)
        self.ran.append(task.get("name"))
        if "log" in task:
            attempt.reports.log(attempt.job.id, "info", task["log"])
        if task.get("fail"):
            raise JobError("no", retry_after_ms=self.gap)
        return task.get("name")

    async def act(self, task: dict[str, Any], attempt: Attempt) -> Any:
        if "log" in task:
            attempt.reports.log(attempt.job.id, "info", task["log"])
        try:
            await asyncio.sleep(task.get("s", 0))
        except asyncio.CancelledError:
            if not task.get("stubborn"):
                raise
            await asyncio.sleep(task["stubborn"])
        if task.get("fail"):
            raise JobError("no", retry_after_ms=task.get("retryAfterMs", self.gap))
        return task.get("name")

    def submit(self, type_: str = "plain", **task: Any) -> str:
        return self.process.submit({"type": type_, **task})[0]

    def get(self, job_id: str) -> Job:
        return self.process.registry.get(job_id)

    def told(self, job_id: str) -> tuple[str, int, str | None]:
        job = self.get(job_id)
        return job.status, job.attempt, job.error_code

    def event_names(self, job_id: str) -> list[str]:
        return [event.name for event in self.process.registry.events(job_id)]


@pytest.fixture
def world(tmp_path: Path, wall: WallClock) -> Iterator[World]:
    made = World(tmp_path, wall)
    yield made
    made.process.failing = False
    made.process.crash(tmp_path / "end")


# --- slots, order, keys ---


def test_a_thousand_jobs_of_ten_keys_use_every_slot_they_may(world: World) -> None:
    world.restart(max_concurrent=50)
    tasks = [
        {"type": "plain", "s": 0.1, "options": {"concurrencyKey": f"key {n % 10}", "concurrencyLimit": 1}}
        for n in range(1000)
    ]
    world.process.submit(*tasks)
    begun = world.process.loop.time()
    world.process.settle()
    assert world.process.registry.running == 10
    while world.process.registry.queued:
        world.process.advance(0.1)
        assert world.process.registry.running >= min(10, world.process.registry.queued)
    assert dict(world.most_running) == {f"key {n}": 1 for n in range(10)}
    assert world.process.loop.time() - begun < 100 * 0.1 * 1.05


def test_a_busy_key_does_not_hold_up_others(world: World) -> None:
    world.restart(max_concurrent=2)
    keyed = {"type": "plain", "s": 10, "options": {"concurrencyKey": "k"}}
    world.process.submit(*[{**keyed, "name": n} for n in range(5)], {"type": "plain", "name": "other"})
    world.process.settle()
    assert world.ran == [0, "other"]


def test_higher_priorities_start_first_and_equals_in_order(world: World) -> None:
    world.restart(max_concurrent=1)
    world.submit(s=1)
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -5)):
        world.submit(name=name, options={"priority": priority})
    world.process.advance(2)
    assert world.ran == [None, "b", "d", "a", "c", "e"]


def test_higher_priorities_start_first_within_a_key(world: World) -> None:
    world.restart(max_concurrent=1)
    world.submit(s=1)
    for name, priority in (("low", 0), ("high", 9)):
        world.submit(name=name, options={"priority": priority, "concurrencyKey": "k"})
    world.process.advance(2)
    assert world.ran == [None, "high", "low"]


def test_the_queue_has_a_bound_and_says_when_to_come_back(world: World) -> None:
    world.restart(max_concurrent=1, max_queued=2)
    ids = [world.submit(s=10) for _ in range(3)]
    with pytest.raises(QueueFull) as caught:
        world.submit()
    assert int(caught.value.headers["Retry-After"]) >= 1
    assert [world.process.registry.position(world.get(job_id)) for job_id in ids] == [None, 1, 2]


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({}, 5 + 3),
        ({"delayMs": 60_000}, 5),
        ({"startAt": "2100-01-01T00:00:00Z"}, 5),
        ({"concurrencyKey": "k"}, 5 + 1),
        ({"concurrencyKey": "k", "concurrencyLimit": 2}, 5 + 2),
        ({"concurrencyKey": "k", "concurrencyLimit": 9}, 5 + 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("type_", ["plain", "free"])
def test_only_jobs_that_start_at_once_take_no_place_in_the_queue(
    world: World, options: dict[str, Any], accepted: int, type_: str
) -> None:
    world.restart(max_concurrent=3, max_queued=5)
    for _ in range(accepted):
        world.submit(type_, s=100, options=options)
    for _ in range(3):
        with pytest.raises(QueueFull):
            world.submit(type_, s=100, options=options)
    world.process.settle()
    assert (world.process.registry.queued, world.process.registry.running) == (5, accepted - 5)


def test_a_batch_that_can_never_fit_is_not_told_to_come_back(world: World) -> None:
    world.restart(max_concurrent=2, max_queued=5)
    with pytest.raises(InvalidBatch, match="maxQueuedTasks lets 5 wait while 2 run"):
        world.process.submit(*[{"type": "plain"}] * 8)
    keyed = {"type": "plain", "s": 9, "options": {"concurrencyKey": "k"}}
    with pytest.raises(QueueFull):
        world.process.submit(*[keyed] * 7)
    assert len(world.process.submit(*[keyed] * 6)) == 6


def test_a_slot_taken_for_a_job_that_went_away_is_given_back_once(world: World) -> None:
    world.restart(max_concurrent=1)
    world.submit(s=1)
    for _ in range(3):
        queued = world.submit(s=1)
        world.process.run(world.process.registry.cancel(queued))
    world.process.advance(2)
    for _ in range(3):
        world.submit(s=10)
    world.process.settle()
    assert world.process.registry.running == 1 == sum(world.now_running.values())


def test_cancelling_everything_frees_every_slot_and_key(world: World) -> None:
    world.restart(max_concurrent=2)
    ids = [world.submit(s=100, stubborn=100 * n, options={"concurrencyKey": f"k{n % 3}"}) for n in range(9)]
    world.process.run(asyncio.wait_for(_all_cancelled(world, ids), 1))
    world.process.advance(6)
    assert {world.told(job_id)[0] for job_id in ids} == {"cancelled"}
    assert (world.process.registry.running, world.process.registry.queued) == (0, 0)
    fresh = [world.submit(s=1, options={"concurrencyKey": f"k{n}"}) for n in range(2)]
    world.process.settle()
    assert [world.told(job_id)[0] for job_id in fresh] == ["running", "running"]


async def _all_cancelled(world: World, ids: list[str]) -> None:
    await asyncio.gather(*map(world.process.registry.cancel, ids * 2))


# --- time ---


@pytest.mark.parametrize("jump", [-DAY_MS, DAY_MS])
def test_a_set_clock_moves_no_delay_gap_or_timeout(world: World, jump: int) -> None:
    delayed = world.submit(name="delayed", options={"delayMs": 5000})
    tried = world.submit(name="tried", fail=True, retryAfterMs=5000, options={"retry": {"maxAttempts": 2}})
    slow = world.submit(s=100, options={"timeoutMs": 5000})
    expiring = world.submit(options={"delayMs": 60_000, "expireMs": 5000})
    world.process.settle()
    world.wall.set_forward(jump)
    world.process.advance(4.8)
    assert world.ran == ["tried", None]
    assert [world.told(job_id)[0] for job_id in (delayed, tried, slow, expiring)] == [
        *("pending", "pending", "running", "pending")
    ]
    world.process.advance(0.4)
    assert sorted(filter(None, world.ran)) == ["delayed", "tried", "tried"]
    assert world.told(slow) == ("failed", 1, "timeout")
    assert world.told(expiring) == ("failed", 1, "expired")


@pytest.mark.parametrize("jump", [-DAY_MS, DAY_MS])
def test_a_clock_set_between_submission_and_acceptance_moves_no_delay(world: World, jump: int) -> None:
    task = task_of({"type": "plain", "options": {"delayMs": 5000}})
    world.process.task(world.process.registry.submit([task]))
    world.process.advance(COMMIT_SECONDS / 4)
    world.wall.set_forward(jump)
    world.process.advance(4.9)
    assert world.ran == []
    world.process.advance(0.2)
    assert world.ran == [None]


@pytest.mark.parametrize(("jump", "ran"), [(-DAY_MS, []), (DAY_MS, ["dated"])])
def test_a_start_date_follows_the_clock_on_the_wall(world: World, jump: int, ran: list[str]) -> None:
    world.submit(name="dated", options={"startAt": iso(world.wall.now() + 3_600_000)})
    world.process.advance(2)
    assert world.ran == []
    world.wall.set_forward(jump)
    world.process.advance(2)
    assert world.ran == ran
    world.wall.set_forward(DAY_MS)
    world.process.advance(3600)
    assert world.ran == ["dated"]


def test_due_times_and_counts_survive_a_crash(world: World) -> None:
    delayed = world.submit(name="delayed", options={"delayMs": 60_000})
    tried = world.submit(name="t", fail=True, retryAfterMs=60_000, options={"retry": {"maxAttempts": 2}})
    world.process.settle()
    due = [world.get(job_id).next_attempt_at for job_id in (delayed, tried)]
    world.process.advance(30)
    world.crash()
    assert [world.get(job_id).next_attempt_at for job_id in (delayed, tried)] == due
    world.process.advance(29.5)
    assert world.ran == ["t"]
    world.process.advance(1)
    assert sorted(world.ran) == ["delayed", "t", "t"]
    assert world.told(tried) == ("failed", 2, "handler-error")


def test_what_expired_while_nobody_was_there_does_not_start(world: World) -> None:
    late = world.submit(name="late", options={"delayMs": 2000, "expireMs": 5000})
    world.wall.set_forward(10_000)
    world.crash()
    world.process.settle()
    assert world.told(late) == ("failed", 1, "expired")
    assert world.ran == []


def test_whatever_gap_a_handler_asks_for_the_job_goes_on(world: World) -> None:
    for gap in (0.5, 1e300, float("nan"), -5, "soon"):
        options = {"retry": {"maxAttempts": 2, "initialDelayMs": 0}}
        world.gap = gap
        job_id = world.submit(fail=True, options=options)
        world.process.settle()
        assert world.told(job_id)[1] == 2
        assert world.process.registry.running == 0


# --- instant handlers ---


def test_an_instant_job_runs_on_the_spot_where_there_is_room(world: World) -> None:
    submission = world.process.task(
        world.process.registry.submit([task_of({"type": "instant", "name": "now"})])
    )
    world.process.run(asyncio.sleep(0))
    assert world.ran == ["now"]
    assert not submission.done(), "nothing is said before the commit"
    assert world.process.registry.running == 0
    world.process.settle()
    assert world.told(submission.result().jobs[0].id)[0] == "completed"


def test_an_instant_job_waits_for_its_turn_like_any_other(world: World) -> None:
    world.restart(max_concurrent=2)
    world.submit(name="first", s=5)
    world.submit(name="second", s=9)
    world.submit(name="third", s=1)
    job_id = world.submit("instant", name="last")
    world.process.advance(4)
    assert world.told(job_id)[0] == "pending"
    world.process.advance(2)
    assert world.ran == ["first", "second", "third", "last"]


def test_a_queue_of_instant_jobs_leaves_the_loop_its_turns(world: World) -> None:
    world.restart(max_concurrent=2)
    turns: list[int] = []

    async def submit_many_and_count_turns() -> None:
        tasks = [task_of({"type": "instant"}) for _ in range(100)]
        submission = asyncio.ensure_future(world.process.registry.submit(tasks))
        while len(world.ran) < 100:
            turns.append(len(world.ran))
            await asyncio.sleep(0)
        turns.append(len(world.ran))
        await submission

    world.process.run(submit_many_and_count_turns())
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 2


@pytest.mark.parametrize("options", [{"delayMs": 5000}, {"concurrencyKey": "k"}])
def test_an_instant_job_keeps_to_its_options(world: World, options: dict[str, Any]) -> None:
    world.submit(name="busy", s=3, options={"concurrencyKey": "k"})
    job_id = world.submit("instant", name="late", options=options)
    world.process.advance(2)
    assert world.told(job_id)[0] == "pending"
    world.process.advance(4)
    assert world.ran == ["busy", "late"]


def test_an_instant_job_fails_tells_and_tries_again_like_any_other(world: World) -> None:
    retry = {"retry": {"maxAttempts": 2, "initialDelayMs": 0}}
    job_id = world.submit("instant", fail=True, log="hm", options=retry)
    world.process.settle()
    assert world.told(job_id) == ("failed", 2, "handler-error")
    assert world.event_names(job_id) == [
        *("created", "started", "log", "retrying", "started", "log", "failed")
    ]


def test_a_date_beyond_the_calendar_hurts_nobody(world: World) -> None:
    with pytest.raises(ValueError, match="startAt"):
        world.submit(options={"startAt": "9999-12-31T23:59:59-12:00"})
    last = world.submit(options={"startAt": "9999-12-31T23:59:59Z"})
    assert world.told(last)[0] == "pending"


# --- interruptions ---


def test_running_jobs_come_back_three_times(world: World) -> None:
    job_id = world.submit(s=1000)
    for attempt in (2, 3):
        world.process.settle()
        world.crash()
        world.process.settle()
        assert world.told(job_id) == ("running", attempt, None)
    world.crash()
    world.process.settle()
    assert world.told(job_id) == ("failed", 3, "interrupted")
    assert world.event_names(job_id) == [
        *("created", "started", "retrying", "started", "retrying", "started", "failed")
    ]


def test_interruptions_do_not_use_up_attempts(world: World) -> None:
    job_id = world.submit(s=1, fail=True, options={"retry": {"maxAttempts": 2, "initialDelayMs": 0}})
    world.process.settle()
    world.crash()
    world.process.settle()
    world.restart(grace=0)
    world.process.advance(10)
    assert world.told(job_id) == ("failed", 4, "handler-error")


def test_on_interrupt_fail_runs_once_and_only_after_its_start_is_on_disk(world: World) -> None:
    job_id = world.submit("once", s=1000)
    world.process.advance(COMMIT_SECONDS / 4)
    assert world.ran == []
    world.process.settle()
    assert world.ran == [None]
    world.crash()
    world.process.settle()
    assert world.told(job_id) == ("failed", 1, "interrupted")
    assert world.ran == [None]


def test_a_cancel_that_was_confirmed_holds_across_a_crash(world: World) -> None:
    job_id = world.submit(s=1000, stubborn=1000)
    world.process.settle()
    world.process.run(world.process.registry.cancel(job_id))
    world.crash()
    world.process.settle()
    assert world.told(job_id) == ("cancelled", 1, "cancelled")


def test_a_type_that_is_gone_fails_its_jobs(world: World) -> None:
    job_id = world.submit(options={"delayMs": 60_000})
    world.process.stop(0)
    world.process = Process(world.process.folder, world.wall, {})
    world.process.settle()
    assert world.told(job_id) == ("failed", 1, "handler-error")


# --- stop ---


def test_a_stop_lets_end_what_ends_in_time_and_takes_back_the_rest(world: World) -> None:
    quick, slow, stubborn = world.submit(s=1), world.submit(s=100), world.submit(s=100, stubborn=100)
    once, queued = world.submit("once", s=100), world.submit(options={"delayMs": 60_000})
    waits = [world.process.task(world.process.registry.wait(slow, 100)) for _ in range(3)]
    world.process.settle()
    begun = world.process.loop.time()
    world.process.run(world.process.registry.drain(2))
    assert 2 <= world.process.loop.time() - begun < 8.5
    assert [wait.result().status for wait in waits] == ["running"] * 3
    assert world.told(quick) == ("completed", 1, None)
    assert world.told(slow) == world.told(stubborn) == ("pending", 2, None)
    assert world.told(once) == ("failed", 1, "interrupted")
    assert world.told(queued) == ("pending", 1, None)
    assert world.process.registry.running == 0
    with pytest.raises(Draining):
        world.submit()
    world.restart()
    world.process.settle()
    assert world.told(slow) == world.told(stubborn) == ("running", 2, None)


def test_a_stop_in_a_hurry_does_not_wait(world: World) -> None:
    job_id = world.submit(s=100)
    world.process.settle()
    hurry = asyncio.Event()
    stop = world.process.task(world.process.registry.drain(1000, hurry))
    world.process.advance(1)
    assert not stop.done()
    hurry.set()
    world.process.settle()
    assert stop.done()
    assert world.told(job_id)[0] == "pending"


def test_a_stop_does_not_wait_for_ever_for_a_full_disk(world: World) -> None:
    world.submit(s=1)
    world.process.settle()
    world.process.failing = True
    world.process.run(asyncio.wait_for(world.process.registry.drain(5), 60))


# --- a disk that fails ---


def test_a_refused_acceptance_leaves_nothing_behind(world: World) -> None:
    running = world.submit(s=1)
    world.process.settle()
    world.process.failing = True
    for type_ in ("free", "plain", "once"):
        batch = [task_of({"type": type_, "name": type_, "s": s}) for s in (0, 100)]
        with pytest.raises(StoreUnavailable):
            world.process.run(world.process.registry.submit(batch, Idempotency("api", "key")))
    world.process.advance(3)
    assert world.told(running)[0] == "running", "its end is not on disk"
    assert (world.process.registry.running, world.process.registry.queued) == (0, 0)
    world.process.failing = False
    world.process.advance(1)
    assert world.told(running)[0] == "completed"
    kept = [decode(value) for _, value in world.process.store.scan("jobs")]
    assert [(job.id, job.row) for job in kept] == [(running, 1)]
    assert world.process.store.scan("idempotency") == []
    again = world.process.submit({"type": "free", "name": "other"}, idempotency=Idempotency("api", "key"))
    world.process.settle()
    assert world.get(again[0]).row == 2


def test_nothing_is_shown_before_it_is_committed(world: World) -> None:
    job_id = world.submit(options={"delayMs": 1000}, log="at work")
    world.process.failing = True
    wait = world.process.task(world.process.registry.wait(job_id, 20))
    world.process.advance(10)
    assert world.ran == [None]
    assert world.told(job_id) == ("pending", 1, None)
    assert world.event_names(job_id) == ["created"]
    assert not wait.done()
    world.process.failing = False
    world.process.advance(1)
    assert wait.result().status == "completed"
    assert world.event_names(job_id) == ["created", "started", "log", "completed"]


def test_a_cancel_that_is_not_on_disk_is_not_confirmed(world: World) -> None:
    job_id = world.submit(s=100)
    world.process.settle()
    world.process.failing = True
    with pytest.raises(StoreUnavailable):
        world.process.run(world.process.registry.cancel(job_id))
    world.process.failing = False
    world.process.advance(6)
    assert world.told(job_id)[0] == "cancelled"


# --- reading and replaying ---


def test_a_raced_key_is_one_submission(world: World) -> None:
    task = task_of({"type": "plain", "name": "one"})
    key = Idempotency("api", "key", "digest")

    async def race() -> list[Any]:
        return await asyncio.gather(*(world.process.registry.submit([task], key) for _ in range(100)))

    answers = world.process.run(race())
    assert len({answer.jobs[0].id for answer in answers}) == 1
    assert [answer.replayed for answer in answers] == [False] + [True] * 99
    world.process.settle()
    world.crash()
    [later] = world.process.run(world.process.registry.submit([task], key)).jobs
    assert later.id == answers[0].jobs[0].id
    world.process.settle()
    assert world.ran == ["one"]
    with pytest.raises(IdempotencyConflict):
        world.process.run(world.process.registry.submit([task], key._replace(digest="another")))
    other = world.process.run(world.process.registry.submit([task], key._replace(scope="hook")))
    assert not other.replayed


def test_a_repeated_batch_shows_the_jobs_that_are_kept(world: World) -> None:
    batch = [task_of({"type": "free", "name": "free"}), task_of({"type": "free", "name": "free"})]
    key = Idempotency("api", "key")
    first, second = world.process.run(world.process.registry.submit(batch, key)).jobs
    world.process.advance(1)
    world.process.store.write([Change("jobs", second.id, None)])
    world.process.registry.forget(second.id)
    world.process.advance(1)
    again = world.process.run(world.process.registry.submit(batch, key))
    assert (again.replayed, [job.id for job in again.jobs]) == (True, [first.id])


def test_only_ended_jobs_are_replayed_with_the_same_task(world: World) -> None:
    job_id = world.submit(s=1, name="x")
    with pytest.raises(JobNotFinished):
        world.process.run(world.process.registry.replay(job_id))
    world.process.advance(2)
    (again,) = world.process.run(world.process.registry.replay(job_id)).jobs
    assert (again.replay_of, again.task) == (job_id, world.get(job_id).task)
    assert again.id > job_id


def test_ids_grow_although_the_clock_was_set_back(world: World) -> None:
    ids = [world.submit()]
    world.wall.set_forward(-DAY_MS)
    ids += [world.submit(), world.submit()]
    world.crash()
    ids.append(world.submit())
    assert ids == sorted(ids)


@pytest.mark.parametrize("call", ["get", "cancel", "wait", "events"])
def test_unknown_jobs_are_not_found(world: World, call: str) -> None:
    registry = world.process.registry
    calls = {
        "get": lambda: registry.get("none"),
        "cancel": lambda: world.process.run(registry.cancel("none")),
        "wait": lambda: world.process.run(registry.wait("none", 1)),
        "events": lambda: registry.events("none"),
    }
    with pytest.raises(JobNotFound):
        calls[call]()


def test_a_follower_cut_off_at_any_event_misses_none(world: World) -> None:
    job_id = world.submit(s=1, log="hello", fail=True, options={"retry": {"maxAttempts": 2}})
    world.process.advance(100)

    async def follow(after: int) -> list[Any]:
        return [event async for event in world.process.registry.follow(job_id, after)]

    whole = world.process.run(follow(0))
    assert [event.name for event in whole] == [
        *("created", "started", "log", "retrying", "started", "log", "failed")
    ]
    assert [world.process.run(follow(after)) for after in range(8)] == [whole[after:] for after in range(8)]
    world.crash()
    assert [event[:2] for event in world.process.run(follow(0))] == [event[:2] for event in whole]
