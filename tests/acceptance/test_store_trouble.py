"""A store that is broken, foreign, taken or out of room: a clear word, and nothing lost."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.service import Client, Service


async def ends_with_a_word(service: Service, *words: str) -> None:
    """The process must end by itself with an error that says one of the words, and no traceback."""
    said = len(service.log)
    service.launch()
    assert await service.wait(40) not in (0, -6, -9, -11)
    text = service.log[said:]
    assert any(word in text.lower() for word in words), text
    assert "Traceback" not in text, text


async def filled(service: Service, count: int = 30) -> list[str]:
    """Ids of the jobs of a service that ran them and was stopped."""
    await service.start()
    async with service.client() as http:
        jobs = await asyncio.gather(*(http.run({"payload": "x" * 2000}) for _ in range(count)))
        assert await service.terminate() == 0
    return [job["jobId"] for job in jobs]


async def test_a_file_that_is_no_database(make):
    service: Service = make()
    service.storage.mkdir()
    file = service.storage / "jobs.sqlite"
    garbage = random.Random(1).randbytes(50_000)
    file.write_bytes(garbage)
    await ends_with_a_word(service, "jobs.sqlite")
    assert file.read_bytes() == garbage


async def test_a_damaged_database(make):
    service: Service = make()
    ids = await filled(service)
    file = service.storage / "jobs.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:-4096] = random.Random(2).randbytes(len(content) - 8192)
    file.write_bytes(content)
    await ends_with_a_word(service, "jobs.sqlite")
    assert file.read_bytes() == bytes(content)
    assert len(ids) == len(service.rows())


async def test_a_store_of_a_newer_version(make):
    service: Service = make()
    ids = await filled(service, 3)
    with closing(sqlite3.connect(service.storage / "jobs.sqlite")) as store:
        (version,) = store.execute("PRAGMA user_version").fetchone()
        store.execute("PRAGMA user_version = 1000000")
    await ends_with_a_word(service, "newer", "version")
    with closing(sqlite3.connect(service.storage / "jobs.sqlite")) as store:
        assert store.execute("PRAGMA user_version").fetchone() == (1_000_000,)
        store.execute(f"PRAGMA user_version = {version}")
    await service.start()
    async with service.client() as http:
        assert {job["jobId"] for job in await http.all_jobs()} == set(ids)


async def test_a_store_that_another_process_serves(make):
    first: Service = await make().start()
    second: Service = make(at=first.storage)
    async with first.client() as http:
        job_id = await http.submit({"options": {"delayMs": 500}})
        await ends_with_a_word(second, "lock", "in use", "another")
        assert (await http.finished(job_id))["status"] == "completed"
        assert (await http.run({}))["status"] == "completed"
    assert len(await first.rows_when(2)) == 2
    await first.kill()
    await second.start()  # the lock dies with its process


# -- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 6 MB; skipped where this process may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Take every free byte of the file system."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


async def until_status(service: Service, path: str, status: int, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while (now := await asyncio.to_thread(service.status_of, path)) != status:
        assert time.monotonic() < deadline, f"{path} is {now}, not {status}:\n{service.log[-3000:]}"
        await asyncio.sleep(0.1)


async def until_refused(http: Client) -> list[str]:
    """Ids of the jobs that were still accepted until the store could write no more."""
    accepted: list[str] = []
    for _ in range(300):
        reply = await http.post("/tasks", {"payload": "x" * 50_000})
        if reply.status != 202:
            reply.problem(503)
            assert int(reply.headers["Retry-After"]) >= 1
            return accepted
        accepted.append(reply.json()["jobId"])
    raise AssertionError("nothing was refused although nothing can be written")


async def outage(service: Service, begin, end) -> None:
    """The store cannot write between `begin()` and `end()`: nothing lost, nothing told that is not kept."""
    async with service.client() as http:
        ids = [(await http.run({"payload": n}))["jobId"] for n in range(5)]
        running = await http.submit({"type": "sleep", "ms": 1500})
        await http.until_status(running, "running")
        begin()
        ids += [running, *await until_refused(http)]
        await until_status(service, "/ready", 503)
        assert (await http.get("/health")).status == 200
        await asyncio.sleep(1.6)
        assert (await http.get(f"/tasks/{ids[0]}")).status == 200
        end()
        await until_status(service, "/ready", 200)
        ids += [await http.submit({"payload": "after"})]
        ended = [await http.finished(job_id) for job_id in ids]
        assert {snapshot["status"] for snapshot in ended} == {"completed"}
        listed = [job["jobId"] for job in await http.all_jobs()]
    rows = await service.rows_when(len(listed), 40)
    assert sorted(row["jobId"] for row in rows) == sorted(listed)
    assert set(ids) <= set(listed)


async def test_a_full_disk_and_then_room_again(make, small_disk: Path):
    service: Service = await make(at=small_disk / "storage").start()
    await outage(service, lambda: fill(small_disk), lambda: (small_disk / "filler").unlink())
    await service.kill()


async def test_files_that_may_not_grow_and_then_may_again(make):
    service: Service = await make().start()
    pid = service.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    await outage(
        service,
        lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1])),
        lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited),
    )


async def test_a_disk_that_is_full_at_the_start(make, small_disk: Path):
    service: Service = make(at=small_disk / "storage")
    service.write_input()
    filler = fill(small_disk)
    service.launch()
    try:
        code = await service.wait(15)
    except subprocess.TimeoutExpired:
        assert await asyncio.to_thread(service.status_of, "/ready") == 503
    else:
        assert code != 0
        assert "Traceback" not in service.log
    assert "disk" in service.log.lower() or "full" in service.log.lower() or "space" in service.log.lower()
    await service.kill()
    filler.unlink()
    await service.start()
    await service.kill()


async def test_a_folder_that_may_not_be_written(make, tmp_path: Path):
    if os.geteuid() == 0:
        blocked = tmp_path / "a-file"
        blocked.write_text("no folder")
    else:
        blocked = tmp_path / "read-only"
        blocked.mkdir(mode=0o555)
    service: Service = make(at=tmp_path / "fine", env={"APIFY_LOCAL_STORAGE_DIR": str(blocked / "storage")})
    await ends_with_a_word(service, str(blocked).lower())
