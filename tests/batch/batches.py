"""A jobs file that the command line works through, and its processes, to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0


class Jobs:
    """A jobs file that the command line works through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "udh_core", "batch", str(self.path), *options]
        return subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_hears_ctrl_c if os.name == "posix" else None,
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Of the journal."""
        return [event for event in read(self.path.with_name("jobs.journal.jsonl")) if event.get("event") == kind]

    def results(self) -> list[dict[str, Any]]:
        return sorted(read(self.path.with_name("jobs.results.jsonl")), key=lambda result: result["line"])

    def check_done_once(self, lines: list[int]) -> None:
        """Each of these lines ended well once, in all runs, and is one whole result."""
        from udh_core.media.probe import probe

        done = [event["result"] for event in self.events("ended") if event["result"]["status"] == "done"]
        assert sorted(result["line"] for result in done) == lines
        assert [result for result in self.results() if result["status"] == "done"] == sorted(
            done, key=lambda result: result["line"]
        )
        for result in done:
            info = probe(Path(result["out"])).video
            assert info is not None and info.frame_count > 5
        assert not list(self.path.parent.glob(".*part*"))


def _hears_ctrl_c() -> None:
    """Also where whatever runs the tests does not, as in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read(path: Path) -> list[dict[str, Any]]:
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait for something that a process brings about; what it is then."""
    end_s = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end_s
        time.sleep(0.05)
    return found


def below(pid: int, words: str) -> list[int]:
    """Processes that a process has begun, or those have, with these words in their command line."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(one for one in found if words in lines.get(one, ""))
