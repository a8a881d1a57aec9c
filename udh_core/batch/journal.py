"""The journal beside a jobs file: what was begun and how it ended, on the disk before anything follows from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import FormatError
from ..files import held

FORMAT = 1
BEGUN, ENDED, DONE = "begun", "ended", "done"


def beside(jobs_file: Path, what: str) -> Path:
    """jobs.jsonl → jobs.journal.jsonl."""
    return jobs_file.with_name(f"{jobs_file.stem}.{what}.jsonl")


class Journal:
    """Open for one run; a context manager. JSON lines that are only appended, each flushed to the disk.

    A last line that was cut off, by a power cut or a full disk, is removed. InUseError while another run has it open,
    on this machine or another one that sees the folder. FormatError: another file has this name, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}  # results by key of the job
        self.begun: set[str] = set()  # keys of jobs that were begun and have not ended
        self._stack = ExitStack()

    def __enter__(self) -> Journal:
        with ExitStack() as stack:
            lock = self.path.with_name(f".{self.path.stem}.lock")
            stack.enter_context(held(lock, f"another run is doing the jobs of {self.path}; wait until it ends"))
            self._read()
            self._file: BinaryIO = stack.enter_context(self.path.open("ab", buffering=0))
            if self._file.tell() == 0:
                self._append({"journal": FORMAT})
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def begin(self, key: str, line: int, attempt: int) -> None:
        """A job is given to a worker."""
        self.begun.add(key)
        self._note(BEGUN, key, {"line": line, "attempt": attempt})

    def end(self, key: str, result: Mapping[str, Any]) -> None:
        """A job has ended, well or not."""
        self.begun.discard(key)
        self._note(ENDED, key, {"result": dict(result)})

    def _note(self, event: str, key: str, more: dict[str, Any]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._append({"event": event, "job": key, "at": now, **more})

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                self._take(json.loads(text), number)
            except (ValueError, KeyError, TypeError) as e:
                raise FormatError(
                    f"{self.path}, line {number}: this is no line of a journal; delete that line, or the file to do "
                    "all jobs again"
                ) from e
        if len(whole) < len(raw):
            os.truncate(self.path, len(whole))

    def _take(self, line: dict[str, Any], number: int) -> None:
        if number == 1:
            if line["journal"] != FORMAT:
                raise ValueError(line["journal"])
            return
        key, result = line["job"], line.get("result", {})
        if line["event"] == BEGUN:
            self.begun.add(key)
            return
        self.begun.discard(key)
        if result["status"] == DONE:
            self.done[key] = result
