"""Random lives of many jobs against a small model: nothing is lost, doubled, stuck, or told too early.

Each machine submits, cancels, waits, lets time pass, sets the clock, breaks the disk, and drops or stops the process.
After every step it looks at everything a client could see; at the end everything must have come to its end.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from async_endpoint.errors import JobError, RetryableResult, StoreUnavailable
from async_endpoint.jobs.clock import iso
from async_endpoint.jobs.dispatcher import Limits
from async_endpoint.jobs.idempotency import Idempotency
from async_endpoint.jobs.model import TERMINAL_STATUSES, JobStatus
from async_endpoint.jobs.records import decode
from async_endpoint.jobs.retries import MAX_INTERRUPTIONS
from tests.jobs.virtual import DAY_MS, Process, Scripted, WallClock, task_of

if TYPE_CHECKING:
    from async_endpoint.jobs.attempts import Attempt
    from async_endpoint.jobs.events import Event
    from async_endpoint.jobs.model import Job

CAP = 3
CLEAN_UP = 5

VERBS = ["finish", "finish", "fail", "fatal", "again", "tidy", "late", "stubborn"]
STEPS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from([0, 0, 2, 10, 700, 20_000])), min_size=1, max_size=4
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "timeoutMs": st.sampled_from([5, 1000]),
        "retry": st.fixed_dictionaries(
            {"maxAttempts": st.integers(1, 4), "initialDelayMs": st.sampled_from([0, 3, 1000])}
        ),
        "priority": st.integers(-1, 1),
        "delayMs": st.sampled_from([0, 5, 3000]),
        "expireMs": st.sampled_from([3, 2000]),
        "concurrencyKey": st.sampled_from(["a", "b"]),
    },
)
BODY = st.fixed_dictionaries(
    {"type": st.sampled_from(["free", "plain", "once", "instant"]), "steps": STEPS, "options": OPTIONS}
)


class Submission:
    """What the model knows of one request: which tasks, and what came of it."""

    def __init__(self, bodies: list[dict[str, Any]], key: str | None) -> None:
        self.bodies = bodies
        self.key = key
        self.ids: list[str] | None = None
        self.refused = False
        self.at = 0.0
        self.life = 0


class Known:
    """What a client has seen of one job."""

    def __init__(self, body: dict[str, Any], life: int, at: float) -> None:
        self.body = body
        self.life = life
        self.at = at
        self.rank = (0, 0)
        self.end: bytes | None = None
        self.events: list[Event] = []
        self.cancel_asked = False


class LivesOfJobs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lives"))
        self.wall = WallClock()
        self.latest = 0
        self.lives = 0
        self.jumps = 0
        self.stops = 0
        self.count = 0
        self.submissions: list[Submission] = []
        self.jobs: dict[str, Known] = {}
        self.waits: list[tuple[str, asyncio.Task[Job]]] = []
        self.working: dict[tuple[int, int], float | None] = {}
        self.started: list[tuple[int, int, int]] = []
        self.outcomes: dict[tuple[int, int], set[str]] = {}
        self.faults: list[str] = []
        self.keys: dict[int, str | None] = {}
        self.process = self.begin(self.folder / "0")

    def begin(self, folder: Path) -> Process:
        self.working.clear()
        self.waits.clear()
        handlers = {
            "free": Scripted(self.work, effect_free=True),
            "plain": Scripted(self.work),
            "once": Scripted(self.work, on_interrupt="fail"),
            "instant": Scripted(self.work_now, instant=True),
        }
        return Process(folder, self.wall, handlers, limits=Limits(max_concurrent=CAP, max_queued=1000))

    def check(self, true: object, fault: str) -> None:
        """Like assert, for code that runs inside of a job or a task."""
        if not true:
            self.faults.append(fault)

    # --- the handler ---

    async def work(self, attempt: Attempt) -> dict[str, int]:
        """Do what the task says for this attempt, and take notes."""
        body, life = json.loads(attempt.job.task), self.lives
        here = (body["n"], attempt.job.attempt)
        loop = asyncio.get_running_loop()
        self.note_start(body, attempt)
        verb, ms = body["steps"][(attempt.job.attempt - 1) % len(body["steps"])]
        self.working[here] = None
        end = loop.time() + ms / 1000
        try:
            while (left := end - loop.time()) > 0:
                try:
                    await asyncio.sleep(left)
                except asyncio.CancelledError:
                    if self.lives != life or verb not in ("stubborn", "late", "tidy"):
                        raise
                    self.working[here] = self.working[here] or loop.time()
                    if verb == "tidy":
                        end = min(end, loop.time() + 2)
                    if verb == "late":
                        break
            return self.outcome(verb, here, ms, attempt)
        finally:
            if self.lives == life:
                self.working.pop(here, None)

    def work_now(self, attempt: Attempt) -> dict[str, int]:
        body = json.loads(attempt.job.task)
        self.note_start(body, attempt)
        self.check(len(self.holding()) < CAP, "it had no slot")
        verb, _ = body["steps"][(attempt.job.attempt - 1) % len(body["steps"])]
        return self.outcome(verb, (body["n"], attempt.job.attempt), 0, attempt)

    def outcome(self, verb: str, here: tuple[int, int], ms: int, attempt: Attempt) -> dict[str, int]:
        outcomes = self.outcomes.setdefault(here, set())
        result = {"n": here[0], "attempt": here[1]}
        limit = attempt.job.options.timeout_ms
        in_time = attempt.stop_reason is not None or limit is None or ms <= limit
        self.check(in_time, "the timeout did not stop it")
        if verb == "fail":
            outcomes.add("failed")
            raise JobError("no")
        if verb == "fatal":
            outcomes.add("fatal")
            raise JobError("never", retryable=False)
        outcomes.add("returned")
        if verb == "again":
            raise RetryableResult(result)
        return result

    def note_start(self, body: dict[str, Any], attempt: Attempt) -> None:
        n, number, options = body["n"], attempt.job.attempt, body["options"]
        self.check((self.lives, n, number) not in self.started, "an attempt ran twice in one process")
        before = {(other, at) for _, other, at in self.started}
        self.check(body["type"] != "once" or (n, number) not in before, "ran twice in spite of 'fail'")
        self.started.append((self.lives, n, number))
        due = iso(self.wall.now()) >= options.get("startAt", "") or self.jumps > body["jumps"]
        self.check(due, "ran before its startAt")
        known = next((k for k in self.jobs.values() if k.body["n"] == n), None)
        if known is not None:
            self.check(known.end is None, "ran after it had ended")
            age = self.process.loop.time() - known.at
            due = options.get("delayMs", 0) / 1000
            self.check(known.life != self.lives or age >= due - 0.001, "ran before its delay")
        self.keys[n] = options.get("concurrencyKey")
        self.check(self.keys[n] not in self.busy_keys(), "two of one key")

    def busy_keys(self) -> set[str | None]:
        """The keys of those at work who were not given up."""
        return {self.keys[n] for n, _ in self.holding()} - {None}

    def holding(self) -> list[tuple[int, int]]:
        now = self.process.loop.time()
        return [here for here, told in self.working.items() if told is None or now < told + CLEAN_UP - 1e-6]

    # --- what happens ---

    @rule(bodies=st.lists(BODY, min_size=1, max_size=3), key=st.sampled_from([None, None, "k1", "k2"]))
    def submit(self, bodies: list[dict[str, Any]], key: str | None) -> None:
        self.begin_submission(bodies, key)

    @rule(body=BODY, seconds=st.sampled_from([1, 10]))
    def submit_for_a_date(self, body: dict[str, Any], seconds: int) -> None:
        options = {k: v for k, v in body["options"].items() if k != "delayMs"}
        options["startAt"] = iso(self.wall.now() + seconds * 1000)
        self.begin_submission([{**body, "options": options}], None)

    @rule(body=BODY, times=st.integers(2, 4), key=st.sampled_from(["k1", "k3", "k4"]))
    def race(self, body: dict[str, Any], times: int, key: str) -> None:
        for _ in range(times):
            self.begin_submission([body], key)

    def begin_submission(self, bodies: list[dict[str, Any]], key: str | None) -> None:
        numbered = []
        for body in bodies:
            self.count += 1
            numbered.append({**body, "n": self.count, "jumps": self.jumps})
        submission = Submission(numbered, key)
        submission.life, submission.at = self.lives, self.process.loop.time()
        self.submissions.append(submission)
        self.process.task(self.follow_submission(submission))

    async def follow_submission(self, submission: Submission) -> None:
        idempotency = None if submission.key is None else Idempotency("test", submission.key)
        try:
            accepted = await self.process.registry.submit(list(map(task_of, submission.bodies)), idempotency)
        except StoreUnavailable:
            submission.refused = True
            return
        submission.ids = [job.id for job in accepted.jobs]
        for job in accepted.jobs:
            body = json.loads(job.task)
            own = body["n"] in [own["n"] for own in submission.bodies]
            self.check(own != accepted.replayed, "the answer is about other jobs")
            self.jobs.setdefault(job.id, Known(body, submission.life if own else -1, submission.at))

    @precondition(lambda self: self.jobs)
    @rule(place=st.integers(0, 50))
    def cancel(self, place: int) -> None:
        job_id = self.pick(place)
        self.jobs[job_id].cancel_asked = True
        self.process.task(self.follow_cancel(job_id))

    async def follow_cancel(self, job_id: str) -> None:
        process = self.process
        with suppress(StoreUnavailable):
            await process.registry.cancel(job_id)
            self.check(await self.ends(process, job_id, CLEAN_UP + 0.1), "a confirmed cancel took too long")

    async def ends(self, process: Process, job_id: str, seconds: float) -> bool:
        """Whether the job ends within some seconds in which the disk works."""
        job = await process.registry.wait(job_id, seconds)
        return job.terminal or process.failing or not process.store.writable or process.registry.draining

    @precondition(lambda self: self.jobs)
    @rule(place=st.integers(0, 50), seconds=st.sampled_from([0, 0.01, 100]))
    def wait(self, place: int, seconds: float) -> None:
        job_id = self.pick(place)
        self.waits.append((job_id, self.process.task(self.process.registry.wait(job_id, seconds))))

    @rule(seconds=st.sampled_from([0, 0.001, 0.003, 0.005, 0.02, 1, 6, 30]))
    def let_time_pass(self, seconds: float) -> None:
        self.process.advance(seconds)

    @rule(ms=st.sampled_from([-DAY_MS, DAY_MS]))
    def set_the_clock(self, ms: int) -> None:
        self.wall.set_forward(ms)
        self.jumps += 1

    @rule()
    def break_or_mend_the_disk(self) -> None:
        self.process.failing = not self.process.failing

    @rule(moment=st.sampled_from([0, 0.001, 0.003, 0.005, 0.02]))
    def lose_power(self, moment: float) -> None:
        self.process.advance(moment)
        self.lives += 1
        self.process.crash(self.folder / str(self.lives))
        self.forget_unanswered()
        self.process = self.begin(self.folder / str(self.lives))

    @precondition(lambda self: not self.process.failing)
    @rule(grace=st.sampled_from([0, 1, 30]))
    def restart(self, grace: float) -> None:
        self.process.settle()
        self.process.stop(grace)
        assert all(wait.done() for _, wait in self.waits), "a stop must answer everybody"
        self.forget_unanswered()
        folder = self.process.folder
        self.lives += 1
        self.stops += 1
        self.process = self.begin(folder)

    def forget_unanswered(self) -> None:
        self.unanswered = [s for s in self.submissions if s.ids is None and not s.refused]

    def pick(self, place: int) -> str:
        return list(self.jobs)[place % len(self.jobs)]

    # --- what must hold ---

    @invariant()
    def what_clients_see_is_true(self) -> None:
        assert not self.faults, self.faults
        self.slots_are_held_by_those_who_work()
        for job_id, known in self.jobs.items():
            self.nothing_goes_back(job_id, known)
            self.events_come_once_and_in_order(job_id, known)
        self.waiters_are_answered_at_the_end()

    def nothing_goes_back(self, job_id: str, known: Known) -> None:
        job, stored = self.process.registry.get(job_id), self.process.store.job(job_id)
        assert stored is not None, "an acknowledged job is gone"
        assert job.rank <= stored.rank, "told before it was on disk"
        assert job.rank >= known.rank, "went back"
        assert known.end in (None, job.snapshot_json()), "a terminal status is final"
        known.rank = job.rank
        known.end = job.snapshot_json() if job.terminal else None

    def events_come_once_and_in_order(self, job_id: str, known: Known) -> None:
        events = self.process.registry.events(job_id)
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        told = len(known.events)
        assert [event[:2] for event in events[:told]] == [event[:2] for event in known.events]
        known.events = events
        assert (events[-1].name in TERMINAL_STATUSES) == (known.end is not None)
        assert known.end is not None or _rank_told(events) == known.rank, "events and snapshot differ"

    def slots_are_held_by_those_who_work(self) -> None:
        assert len(self.holding()) <= self.process.registry.running <= CAP

    def waiters_are_answered_at_the_end(self) -> None:
        self.process.advance(0)
        for job_id, wait in self.waits:
            if self.process.registry.get(job_id).terminal:
                assert wait.done()
                assert wait.result().terminal or wait.result().rank <= self.jobs[job_id].rank

    # --- how it must end ---

    def teardown(self) -> None:
        try:
            self.everything_ends()
            self.slots_are_all_free()
            assert not self.faults, self.faults
        finally:
            self.process.crash(self.folder / "end")
            shutil.rmtree(self.folder)

    def everything_ends(self) -> None:
        self.process.failing = False
        self.process.advance(2)
        self.wall.set_forward(40 * DAY_MS)
        self.process.advance(40 * DAY_MS / 1000)
        self.what_clients_see_is_true()
        stored = [decode(value) for _, value in self.process.store.scan("jobs")]
        assert all(job.terminal for job in stored), "stuck"
        assert sorted(job.row or 0 for job in stored) == list(range(1, len(stored) + 1))
        self.every_submission_counts_once(stored)
        for job in stored:
            self.the_end_is_true(job)
        assert (self.process.registry.running, self.process.registry.queued) == (0, 0)

    def every_submission_counts_once(self, stored: list[Job]) -> None:
        numbers = sorted(json.loads(job.task)["n"] for job in stored)
        assert len(numbers) == len(set(numbers)), "doubled"
        for submission in self.submissions:
            found = [body["n"] in numbers for body in submission.bodies]
            assert len(set(found)) == 1, "all or nothing"
            if submission.refused:
                assert not any(found), "refused, and yet there"
            if submission.ids is not None and submission.key is None:
                assert all(found), "lost"
        for key in ("k1", "k2", "k3", "k4"):
            answers = {tuple(s.ids) for s in self.submissions if s.key == key and s.ids is not None}
            made = [s for s in self.submissions if s.key == key and s.bodies[0]["n"] in numbers]
            assert len(made) <= 1, "one key, one submission"
            assert len(answers) <= 1

    def the_end_is_true(self, job: Job) -> None:
        body, known = json.loads(job.task), self.jobs.get(job.id)
        outcomes = self.outcomes.get((body["n"], job.attempt), set())
        most = body["options"].get("retry", {}).get("maxAttempts", 1)
        if job.status is JobStatus.COMPLETED:
            assert json.loads(job.result or b"") == {"n": body["n"], "attempt": job.attempt}
            assert "returned" in outcomes
        elif job.status is JobStatus.CANCELLED:
            assert known is not None
            assert known.cancel_asked
        elif job.error_code == "handler-error":
            assert outcomes & {"failed", "fatal"}
            tried = {at for _, n, at in self.started if n == body["n"]}
            assert "fatal" in outcomes or len(tried) >= most, "gave up too early"
        elif job.error_code == "timeout":
            assert "timeoutMs" in body["options"]
            assert len({at for _, n, at in self.started if n == body["n"]}) >= most, "gave up too early"
        elif job.error_code == "expired":
            assert "expireMs" in body["options"]
        else:
            assert job.error_code == "interrupted"
            assert self.lives >= (1 if body["type"] == "once" else MAX_INTERRUPTIONS)
        assert job.attempt <= most + self.lives

    def slots_are_all_free(self) -> None:
        body = {"type": "plain", "steps": [("finish", 1000)], "options": {}}
        ids = self.process.submit(*({**body, "n": -n, "jumps": self.jumps} for n in range(1, CAP + 2)))
        self.process.settle()
        assert self.process.registry.running == CAP == len(self.holding())
        self.process.advance(3)
        assert all(self.process.registry.get(job_id).terminal for job_id in ids)


def _rank_told(events: list[Event]) -> tuple[int, int]:
    data = json.loads(events[-1].data)
    return data["attempt"], {"pending": 0, "running": 1}.get(data["status"], 2)


COMMON = settings(
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # shrinking takes minutes; the steps of a failure are told anyway
)


def test_lives_of_jobs() -> None:
    run_state_machine_as_test(LivesOfJobs, settings=settings(COMMON, max_examples=80, derandomize=True))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_thousands_of_lives_of_jobs() -> None:
    run_state_machine_as_test(LivesOfJobs, settings=settings(COMMON, max_examples=1000))
