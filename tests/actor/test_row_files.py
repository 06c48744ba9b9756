from __future__ import annotations

import errno
import io
import json
import os
from typing import TYPE_CHECKING, Any

from async_endpoint.actor.row_files import METADATA, RowFiles, describe

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

END = b"0 0\n"


def batch(*rows: tuple[int, bytes]) -> bytes:
    return b"".join(b"%d %d\n%b" % (number, len(text), text) for number, text in rows) + END


def serve(folder: Path, text: bytes, base: int = 0) -> list[bytes]:
    answers = io.BytesIO()
    RowFiles(folder, base).serve(io.BytesIO(text), answers)
    return answers.getvalue().splitlines()


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != METADATA}


def metadata(folder: Path) -> Any:
    return json.loads((folder / METADATA).read_bytes())


def test_rows_are_numbered_after_what_was_there(tmp_path: Path) -> None:
    """A text may hold anything, also what looks like the end of a batch."""
    text = batch((1, b'{"a":1}'), (2, END)) + batch((3, b""))
    assert serve(tmp_path, text, base=7) == [b"9", b"10"]
    assert written(tmp_path) == {"000000008.json": b'{"a":1}', "000000009.json": END, "000000010.json": b""}
    assert metadata(tmp_path)["item_count"] == 10


def test_a_row_that_comes_again_replaces_its_file(tmp_path: Path) -> None:
    serve(tmp_path, batch((1, b"a longer text"), (2, b"b")))
    assert serve(tmp_path, batch((1, b"short"))) == [b"2"]
    assert metadata(tmp_path)["item_count"] == 2
    assert written(tmp_path) == {"000000001.json": b"short", "000000002.json": b"b"}


def test_a_row_that_is_cut_off_is_not_written(tmp_path: Path) -> None:
    """The service can be killed at any byte: a file holds a whole row."""
    rows = [(number, b'{"n":%d}' % number) for number in range(9, 12)]
    files = [(f"{number:09d}.json", text) for number, text in rows]
    text = batch(*rows)
    ends = [len(batch(*rows[:count])) - len(END) for count in range(4)]
    for cut in range(len(text)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        assert serve(folder, text[:cut]) == []
        whole = sum(end <= cut for end in ends) - 1
        assert written(folder) == dict(files[:whole])
        assert metadata(folder)["item_count"] == (rows[whole - 1][0] if whole else 0)


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("async_endpoint.actor.row_files.os.write", lambda file, text: write(file, text[:3]))
    serve(tmp_path, batch((1, b'{"text":"abcdef"}')))
    assert written(tmp_path) == {"000000001.json": b'{"text":"abcdef"}'}


def test_a_full_disk_is_told_once_and_the_next_batch_tries_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, fails = os.write, [False, True]

    def write_or_fail(file: int, text: bytes) -> int:
        if fails and fails.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, text)

    monkeypatch.setattr("async_endpoint.actor.row_files.os.write", write_or_fail)
    rows = [(1, b"1"), (2, b"2"), (3, b"3")]
    (answer,) = serve(tmp_path, batch(*rows))
    assert answer.startswith(b"! ")
    assert b"No space left" in answer
    assert "000000003.json" not in written(tmp_path)
    fails[:] = [True]
    assert serve(tmp_path, batch(*rows[1:]) + batch(*rows[1:]))[1:] == [b"3"]
    assert sorted(written(tmp_path).values()) == [b"1", b"2", b"3"]


def test_a_folder_that_is_gone_is_a_problem_and_no_end(tmp_path: Path) -> None:
    answers = serve(tmp_path / "gone", batch((1, b"1")) + batch((1, b"1")))
    assert [answer[:2] for answer in answers] == [b"! ", b"! "]


def test_the_description_keeps_what_it_is(tmp_path: Path) -> None:
    describe(tmp_path, 3)
    first = metadata(tmp_path)
    describe(tmp_path, 5)
    second = metadata(tmp_path)
    assert (first["item_count"], second["item_count"]) == (3, 5)
    assert [second[name] for name in ("id", "name", "created_at")] == [
        first[name] for name in ("id", "name", "created_at")
    ]
    assert len(first["id"]) == 17


def test_a_broken_description_is_made_anew(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "5", '{"id": "x"}'):
        (tmp_path / METADATA).write_text(text)
        describe(tmp_path, 1)
        assert metadata(tmp_path)["item_count"] == 1
        assert len(metadata(tmp_path)["id"]) == 17
