from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from async_endpoint.jobs.events import Event, JobLog, events_after, implied_events
from async_endpoint.jobs.model import Job, JobStatus

JOB = Job("job", "echo", b"{}", 1000)
RAN = JOB.evolve(status=JobStatus.RUNNING, started_at=2000)
ENDED = RAN.evolve(status=JobStatus.COMPLETED, finished_at=3000, result=b"1")


def plain(event: Event) -> tuple[int, str, Any]:
    return event.id, event.name, json.loads(event.data)


def names(job: Job, log: JobLog | None = None, after: int = 0) -> list[tuple[int, str]]:
    return [(event.id, event.name) for event in events_after(job, log, after)]


def test_a_log_that_is_not_stored_follows_from_the_job() -> None:
    assert names(JOB) == [(1, "created")]
    assert names(RAN) == [(1, "created"), (2, "started")]
    assert names(ENDED) == [(1, "created"), (2, "started"), (3, "completed")]
    assert names(JOB.evolve(status=JobStatus.CANCELLED, finished_at=3000)) == [
        (1, "created"),
        (2, "cancelled"),
    ]
    assert [names(ENDED, after=after) for after in (2, 3, 9)] == [[(3, "completed")], [], []]
    assert json.loads(events_after(ENDED, None, 2)[0].data) == json.loads(ENDED.snapshot_json())


def test_what_is_appended_shows_once_it_is_committed() -> None:
    log = JobLog("job", implied_events(RAN), visible=1)
    log.append("log", b"{}")
    assert names(RAN, log) == [(1, "created")]
    log.changes()
    assert names(RAN, log) == [(1, "created")]
    log.show(3)
    log.show(2)
    assert names(RAN, log) == [(1, "created"), (2, "started"), (3, "log")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["log", "retrying"]), max_size=6), st.integers(1, 1500))
def test_a_stored_log_comes_back_and_stays_bounded(kinds: list[str], many: int) -> None:
    """Chunks are applied as the store would; compaction keeps ids, transitions and the newest reports."""
    log, table = JobLog("job", implied_events(RAN)), dict[str, bytes]()
    seen = {1: "created", 2: "started"}
    for kind in kinds:
        for _ in range(many if kind == "log" else 1):
            log.append(kind, b'{"n":%d}' % log.last_id)
            seen[log.last_id] = kind
        for change in log.changes():
            assert change.table == "events"
            if change.value is None:
                table.pop(change.key, None)
            else:
                assert isinstance(change.value, bytes)
                table[change.key] = change.value
    log.show(log.last_id)
    loaded = JobLog.load("job", sorted(table.items()))
    if not kinds:
        assert loaded is None
        return
    assert loaded is not None
    assert [plain(event) for event in loaded.committed()] == [plain(event) for event in log.committed()]
    assert loaded.last_id == log.last_id == max(seen)
    told = loaded.committed()
    assert [event.id for event in told] == sorted({event.id for event in told})
    assert len([event for event in told if event.name == "log"]) <= 1000
    dropped = [json.loads(event.data)["count"] for event in told if event.name == "dropped"]
    assert sum(dropped) + len([event for event in told if event.name != "dropped"]) == len(seen)
    transitions = [(event.id, event.name) for event in told if event.name not in ("log", "dropped")]
    assert transitions == [(number, kind) for number, kind in seen.items() if kind != "log"]
