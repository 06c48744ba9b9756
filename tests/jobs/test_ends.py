"""Ends of jobs: their rows are numbered without gaps, in the order in which observers hear of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import StoreUnavailable
from async_endpoint.jobs.dispatcher import Limits
from tests.jobs.virtual import COMMIT_SECONDS, Process, Scripted, WallClock, task_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from async_endpoint.jobs.attempts import Attempt
    from async_endpoint.jobs.model import Job


class Heard:
    """Notes which jobs ended."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def ended(self, job: Job) -> None:
        self.jobs.append(job)

    @property
    def rows(self) -> list[int | None]:
        return [job.row for job in self.jobs]


async def work(attempt: Attempt) -> None:
    """Take as many turns of the loop, then as many seconds, as the task says."""
    task = json.loads(attempt.job.task)
    for _ in range(task.get("turns", 0)):
        await asyncio.sleep(0)
    if "s" in task:
        await asyncio.sleep(task["s"])


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def process(tmp_path: Path, wall: WallClock, heard: Heard) -> Iterator[Process]:
    made = Process(
        tmp_path / "0",
        wall,
        {"free": Scripted(work, effect_free=True), "plain": Scripted(work)},
        limits=Limits(max_concurrent=50),
        observers=[heard],
    )
    yield made
    made.failing = False
    made.crash(tmp_path / "end")


def tasks(*bodies: dict[str, Any]) -> list[Any]:
    return [task_of({"type": "free", **body}) for body in bodies]


def test_a_job_that_ends_before_its_acceptance_is_committed_is_written_once(
    process: Process, heard: Heard
) -> None:
    commits: list[int] = []
    apply, process._apply = process._apply, lambda changes: (commits.append(len(changes)), apply(changes))
    job_id = process.submit({"type": "free"})[0]
    assert process.registry.get(job_id).status == "completed"
    assert [event.name for event in process.registry.events(job_id)] == ["created", "started", "completed"]
    assert (commits, heard.rows) == ([1], [1])


def test_rows_follow_the_order_of_telling_however_ends_overtake_each_other(
    process: Process, heard: Heard
) -> None:
    bodies = [
        {"turns": (7 * n) % 5, **({"s": (3 * n) % 4 * COMMIT_SECONDS / 3} if n % 3 else {})}
        for n in range(40)
    ]

    async def submit_all() -> None:
        await asyncio.gather(
            process.registry.submit(tasks(*bodies[:10])),
            *(process.registry.submit(tasks(body)) for body in bodies[10:]),
        )

    process.run(submit_all())
    process.settle()
    assert heard.rows == list(range(1, 41))


def test_a_refused_acceptance_leaves_no_gap_in_the_rows(process: Process, heard: Heard) -> None:
    process.submit({"type": "plain", "s": 5})
    process.submit({"type": "plain", "s": 5})
    process.advance(5 - COMMIT_SECONDS / 4)

    async def refused() -> None:
        with pytest.raises(StoreUnavailable):
            await process.registry.submit(tasks({}))

    refusals = [process.task(refused()) for _ in range(3)]
    process.failing = True
    process.advance(0.2)
    process.failing = False
    process.advance(5)
    assert all(task.done() for task in refusals)
    process.submit({"type": "free"})
    process.settle()
    assert heard.rows == [1, 2, 3]
    assert process.store.last_row() == 3


def test_a_job_that_ends_after_a_commit_failed_has_its_row_behind_those_of_that_commit(
    process: Process, heard: Heard
) -> None:
    delayed = {"type": "free", "s": 0.7, "options": {"delayMs": 5000}}
    late, early = process.submit(delayed, {"type": "plain", "s": 5.1})
    process.advance(4.9)
    process.failing = True
    process.advance(0.9)  # the start of the one and the end of the other were tried in one commit
    process.failing = False
    process.advance(1)
    assert [(job.id, job.row) for job in heard.jobs] == [(early, 1), (late, 2)]
