from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from async_endpoint.errors import StoreError
from async_endpoint.jobs import database
from async_endpoint.jobs.database import TABLES, Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "jobs.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    made = Database(path)
    made.open()
    yield made
    made.close()


def value(path: Path, key: str) -> bytes | None:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return row and row[0]


def fill(path: Path, rows: int = 1) -> None:
    made = Database(path)
    made.open()
    made.apply({("meta", f"key {n}"): b"x" * 1000 for n in range(rows)})
    made.close()


def test_every_table_takes_keys_and_values(opened: Database) -> None:
    opened.apply({(table, "k"): b"{}\n" for table in TABLES})
    opened.apply({(table, "k"): None for table in TABLES if table != "meta"})
    with closing(opened.connect()) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES]
    assert counts == [int(table == "meta") for table in TABLES]


def test_changes_are_applied_together_or_not_at_all(opened: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        opened.apply({("meta", "k"): b"1", ("nonsense", "k"): b"1"})
    assert value(opened.path, "k") is None
    opened.apply({("meta", "k"): b"2"})
    assert value(opened.path, "k") == b"2"


def test_commits_are_on_disk_before_they_return(opened: Database) -> None:
    with closing(opened.connect()) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_process_is_refused(opened: Database) -> None:
    with pytest.raises(StoreError, match="used by another process"):
        Database(opened.path).open()
    with pytest.raises(StoreError, match="used by another process"):
        Database(opened.path).purge()
    opened.apply({("meta", "k"): b"1"})
    script = "import sys; from pathlib import Path; from async_endpoint.jobs.database import Database\n"
    script += "Database(Path(sys.argv[1])).open()"
    other = subprocess.run([sys.executable, "-c", script, str(opened.path)], capture_output=True, text=True)
    assert "used by another process" in other.stderr


def test_a_file_that_another_program_holds_is_refused(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO meta VALUES ('other', x'31')")
        with pytest.raises(StoreError, match="locked by another program"):
            Database(path, busy_timeout=0.05).open()
        other.execute("COMMIT")
    made = Database(path)
    made.open()
    made.close()
    assert value(path, "other") == b"1"


def test_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="schema version 999"):
        Database(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "torn pages", "cut off"])
def test_a_damaged_file_is_refused_and_left_alone(path: Path, damage: str) -> None:
    fill(path, rows=200)
    whole = path.read_bytes()
    broken = {
        "no database": b"these are the times that try men's souls" * 1000,
        "torn pages": whole[: len(whole) // 2] + b"\xff" * 20_000 + whole[len(whole) // 2 + 20_000 :],
        "cut off": whole[: len(whole) // 2],
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Database(path).open()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == broken
    path.write_bytes(whole)
    made = Database(path)
    made.open()
    made.close()


def test_a_folder_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(tmp_path / "file" / "jobs.sqlite").open()


def test_an_older_version_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    added = "CREATE TABLE added (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID"
    monkeypatch.setattr(database, "_MIGRATIONS", (*database._MIGRATIONS, added))
    made = Database(path)
    made.open()
    made.apply({("added", "k"): b"1"})
    made.close()
    assert value(path, "key 0") == b"x" * 1000
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(database._MIGRATIONS),)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    monkeypatch.setattr(database, "_MIGRATIONS", (*database._MIGRATIONS, "DROP TABLE meta; NONSENSE"))
    with pytest.raises(StoreError):
        Database(path).open()
    monkeypatch.undo()
    made = Database(path)
    made.open()
    made.close()
    assert value(path, "key 0") is not None


def test_what_was_committed_survives_a_crash(opened: Database, tmp_path: Path) -> None:
    opened.apply({("meta", "k"): b"1"})
    (tmp_path / "crashed").mkdir()
    for file in opened.path.parent.glob("jobs.sqlite*"):
        shutil.copy(file, tmp_path / "crashed")
    copy = Database(tmp_path / "crashed" / "jobs.sqlite")
    copy.open()
    copy.close()
    assert value(copy.path, "k") == b"1"


def test_a_copy_holds_all_that_is_committed(opened: Database, tmp_path: Path) -> None:
    opened.apply({("meta", "k"): b"1"})
    opened.copy(tmp_path / "copy.sqlite")
    assert value(tmp_path / "copy.sqlite", "k") == b"1"


def test_a_purge_leaves_nothing(path: Path) -> None:
    fill(path)
    made = Database(path)
    made.purge()
    assert not path.exists()
    made.open()
    made.close()
    assert value(path, "key 0") is None
