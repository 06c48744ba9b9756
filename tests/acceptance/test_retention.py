"""Old jobs leave the store, and stay rows of the dataset."""

from __future__ import annotations

import asyncio
import time


async def test_old_jobs_leave_the_store_but_not_the_dataset(make):
    service = await make({"maxRetainedJobs": 5}).start()
    async with service.client() as http:
        ids = [(await http.run({"payload": number}))["jobId"] for number in range(30)]
        waiting = await http.submit({"options": {"delayMs": 3_600_000}})
        deadline = time.monotonic() + 75
        while (await http.get(f"/tasks/{ids[0]}")).status != 404:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        kept = [job["jobId"] for job in await http.all_jobs()]
        assert kept[0] == waiting
        assert kept[1:] == ids[: -len(kept) : -1]
        assert 5 <= len(kept[1:]) < 30
        (await http.post(f"/tasks/{ids[0]}/replay")).problem(404)
    assert [row["jobId"] for row in await service.rows_when(30)] == ids
