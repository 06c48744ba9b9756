"""The Apify-compatible API of a service that is itself a run on the platform."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from apify_client import ApifyClientAsync

from tests.platform.api import DATASET_ID, STORE_ID
from tests.platform.harness import Run
from tests.platform.standin import StandIn

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {"accessToken": "secret-of-the-input", "presets": {"greet": {"type": "echo", "payload": 1}}}


async def test_runs_survive_a_lost_machine_and_default_storages_are_read(tmp_path: Path) -> None:
    with StandIn() as platform:
        run = Run(platform, tmp_path, SETTINGS)
        try:
            await run.start()
            client = ApifyClientAsync("secret-of-the-input", api_url=run.url, max_retries=0)
            first = await client.task("greet").call()
            assert first is not None
            assert str(first.container_url).rstrip("/") == run.url
            resurrected = await client.run(first.id).resurrect()
            assert (await client.run(first.id).wait_for_finish()) is not None
            while len(run.rows()) < 2:
                await asyncio.sleep(0.05)
            await run.kill()
            await run.start()
            after = await client.run(first.id).get()
            assert after is not None
            assert (after.status, after.stats.resurrect_count) == ("SUCCEEDED", 1)
            assert resurrected.id == first.id
            rows = [row async for row in client.dataset(DATASET_ID).iterate_items(chunk_size=1)]
            assert [row["status"] for row in rows] == ["completed", "completed"]
            assert (await client.dataset("default").list_items(desc=True, limit=1)).items == rows[1:]
            store = client.key_value_store(STORE_ID)
            assert {"INPUT"} < set(platform.storage.sizes())
            assert [item.key async for item in store.iterate_keys()] == []
            assert await store.get_record("INPUT") is None
        finally:
            await run.kill()
