"""The journal: what it keeps when a run ends at any byte, and who may write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from udh_core.batch.journal import Journal
from udh_core.errors import FormatError, InUseError


def written(path: Path) -> bytes:
    with Journal(path) as journal:
        journal.begin("a", 1, 1)
        journal.end("a", {"status": "done", "out": "人.mp4"})
        journal.begin("b", 2, 1)
        journal.end("b", {"status": "failed"})
        journal.begin("c", 3, 1)
    return path.read_bytes()


def test_what_was_noted_is_there_again(tmp_path: Path) -> None:
    before = written(tmp_path / "j.jsonl")
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.done == {"a": {"status": "done", "out": "人.mp4"}}
        assert journal.begun == {"c"}
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_cut_off_at_any_byte_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    raw = written(path)
    done_from = raw.index(b"\n", raw.index(b'"ended"')) + 1
    for size in range(0, len(raw), 7):
        path.write_bytes(raw[:size])
        with Journal(path) as journal:
            assert ("a" in journal.done) == (size >= done_from)
            journal.begin("d", 4, 1)
        with Journal(path) as journal:
            assert "d" in journal.begun


def test_another_file_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    for raw, line in ((b"these are words\n", 1), (b'{"journal": 2}\n', 1), (b'{"journal": 1}\n{"event": "x"}\n', 2)):
        path.write_bytes(raw)
        with pytest.raises(FormatError, match=f"line {line}: this is no line of a journal; delete"), Journal(path):
            pytest.fail("it was taken")
        assert path.read_bytes() == raw


def test_one_run_at_a_time(tmp_path: Path) -> None:
    second = Journal(tmp_path / "j.jsonl")
    with Journal(tmp_path / "j.jsonl"), pytest.raises(InUseError, match="another run is doing the jobs of"), second:
        pytest.fail("two are let in")
    with second:
        second.begin("a", 1, 1)
