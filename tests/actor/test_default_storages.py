from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from apify_client import ApifyClientAsync

from async_endpoint.actor.default_storages import BYTES_PER_PAGE, local_storages, platform_storages
from async_endpoint.errors import Unavailable
from tests.platform.api import DATASET_ID, STORE_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from async_endpoint.jobs.storages import Items


def write(folder: Path, name: str, text: str, content_type: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    if content_type is not None:
        metadata = {"key": name, "content_type": content_type, "size": len(text)}
        (folder / f"{name}.__metadata__.json").write_text(json.dumps(metadata), encoding="utf-8")


async def read(items: Items, offset: int, limit: int, *, desc: bool = False) -> list[Any]:
    return [item async for page in items.pages(offset, limit, desc=desc) for item in page]


async def test_rows_are_read_from_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "default"
    for number in range(1, 2503):
        write(folder, f"{number:09}.json", json.dumps({"number": number}))
    write(folder, "__metadata__.json", "{}")
    items = local_storages(tmp_path, "INPUT").items
    assert (await items.count(), await items.count_clean()) == (2502, 2502)
    assert [row["number"] for row in await read(items, 999, 3)] == [1000, 1001, 1002]
    assert [row["number"] for row in await read(items, 1, 2, desc=True)] == [2501, 2500]
    assert [row["number"] for row in await read(items, 0, 250_000)] == list(range(1, 2503))
    assert await read(items, 2502, 10) == []


@pytest.mark.parametrize("text", ["", '{"number": ', '{"number": 2, "task": {"a": "b'])
async def test_a_row_counts_once_it_is_whole(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "datasets" / "default"
    write(folder, "000000001.json", '{"number": 1}\n')
    write(folder, "000000002.json", text)
    items = local_storages(tmp_path, "INPUT").items
    assert await items.count() == 1
    assert await read(items, 0, 10, desc=True) == [{"number": 1}]


async def test_a_dataset_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    storages = local_storages(tmp_path, "INPUT")
    assert await storages.items.count() == 0
    assert await read(storages.items, 0, 10) == []
    assert await storages.records.sizes() == {}


async def test_records_are_read_but_not_the_input_nor_the_replica(tmp_path: Path) -> None:
    folder = tmp_path / "key_value_stores" / "default"
    write(folder, "report%2Fpage", "<p>", "text/html")
    for private in ("SETTINGS.json", "SETTINGS", "jobs-replica-snapshot"):
        write(folder, private, '{"accessToken": "secret"}', "application/json")
    write(folder, "__metadata__.json", "{}")
    records = local_storages(tmp_path, "SETTINGS").records
    assert await records.sizes() == {"report/page": 3}
    assert await records.get("report/page") == ("report/page", "text/html", b"<p>")
    for private in ("SETTINGS.json", "SETTINGS", "jobs-replica-snapshot", "nothing", "..", "../../secret"):
        assert await records.get(private) is None


async def test_a_page_ends_when_its_rows_are_large(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "default"
    for number in range(1, 6):
        write(
            folder, f"{number:09}.json", json.dumps({"number": number, "text": "x" * (BYTES_PER_PAGE // 2)})
        )
    items = local_storages(tmp_path, "INPUT").items
    sizes = [len(page) async for page in items.pages(0, 250_000, desc=True)]
    assert sizes == [2, 2, 1]


async def test_pages_of_the_platform_are_as_long_as_rows_allow() -> None:
    with StandIn() as platform:
        client = ApifyClientAsync(TOKEN, api_url=platform.url, max_retries=0)
        items = platform_storages(client, DATASET_ID, STORE_ID, "INPUT").items
        platform.storage.items.extend((0.0, {"number": number}) for number in range(2500))
        assert await items.count() == 2500
        assert [row["number"] for row in await read(items, 3, 2000, desc=True)] == [*range(2496, 496, -1)]
        assert [len(page) async for page in items.pages(0, 250_000, desc=False)] == [100, 200, 400, 800, 1000]
        platform.storage.items[:] = [(0.0, {"text": "x" * (BYTES_PER_PAGE // 20)})] * 130
        assert [len(page) async for page in items.pages(0, 250_000, desc=False)] == [100, 19, 11]


@pytest.mark.parametrize(
    "fault", [Fault("status", status=500), Fault("status", status=429), Fault("cut"), Fault("hang")]
)
async def test_a_platform_that_does_not_answer_is_no_fault_of_the_service(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StandIn() as platform:
        client = ApifyClientAsync(TOKEN, api_url=platform.url, max_retries=0)
        storages = platform_storages(client, DATASET_ID, STORE_ID, "INPUT")
        assert await storages.items.count() == 0
        platform.faults.append(fault)
        monkeypatch.setattr("async_endpoint.actor.default_storages.READ_SECONDS", 0.5)
        for reading in (
            storages.items.count(),
            storages.items.count_clean(),
            read(storages.items, 0, 10),
            storages.records.get("a"),
            storages.records.sizes(),
        ):
            with pytest.raises(Unavailable, match="platform"):
                await reading
