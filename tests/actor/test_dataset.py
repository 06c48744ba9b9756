from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from async_endpoint.actor import dataset
from async_endpoint.actor.rows import CURSOR, RowWriter
from async_endpoint.actor.run import LocalRun
from async_endpoint.environment import load_environment
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job, JobStatus
from async_endpoint.jobs.records import encode
from async_endpoint.jobs.store import JobStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_after_a_restart_of_the_machine_rows_are_written_again_and_numbers_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven rows that were written only the job of the fifth is kept."""
    store = JobStore(tmp_path / "jobs.sqlite")
    await store.open()
    run = LocalRun(load_environment({"APIFY_LOCAL_STORAGE_DIR": str(tmp_path)}))
    await run.open_rows(store)
    job = Job("job", "echo", b"{}", 1, status=JobStatus.COMPLETED, finished_at=2, row=5)
    await store.write([Change("meta", CURSOR, b"7"), Change("jobs", job.id, encode(job))]).settled()
    assert RowWriter(store, await run.open_rows(store)).pending == 0
    monkeypatch.setattr(dataset, "_boot_id", lambda: b"after the restart")
    for _ in range(2):
        rows = RowWriter(store, await run.open_rows(store))
        assert (rows.cursor, rows.last, store.last_row()) == (0, 7, 7)
    writing = asyncio.create_task(rows.run())
    await asyncio.wait_for(rows.flush(), 5)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await run.close()
    assert (tmp_path / "datasets" / "default" / "000000005.json").read_bytes() == job.row_json()
    await store.close()
