"""What the tests of faults break things with: a server that forks what they kill, and a disk that is nearly full."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import children

ALL = "UDH_FAULTS"  # UDH_FAULTS=all: every repetition, see docs/robustness.md
LIMIT_S = 120.0
FEW = ("--steps", 2, "--motion-steps", 1, "--model-size", "small")  # the least of a training


def repetitions(few: int, every: int) -> int:
    """How often a seeded test tries: a few times, or, where the environment asks for it, every time."""
    return every if os.environ.get(ALL) == "all" else few


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None  # negative: by a signal
    lines: list[str]  # printed, without those of progress
    text: str  # all of it


class Made(NamedTuple):
    """What the whole chain made of the tiny clip."""

    avatar: Path
    generator: Path
    syncnet: Path
    bundle: Path
    speech: Path
    ended: dict[str, Ended]  # by command


class Forks:
    """Starts functions of children.py in processes of their own."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "children"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # it imports before it forks
        forkserver.ensure_running()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

    def start(self, function: Callable[..., None], *arguments: object, **named: object) -> BaseProcess:
        process = self._context.Process(target=function, args=arguments, kwargs=named)
        process.start()
        return process

    def run(self, function: Callable[..., None], *arguments: object) -> float:
        """To its end; the seconds it took."""
        begun_s = time.monotonic()
        assert self._end_of(self.start(function, *arguments)) == 0
        return time.monotonic() - begun_s

    def udh(self, log: Path, *arguments: object, **limits: object) -> Ended:
        """The command line to its end; limits as in `children.command`."""
        code = self._end_of(self.start(children.command, list(map(str, arguments)), log, **limits))
        text = log.read_text(encoding=str(limits.get("encoding", "utf-8")))
        return Ended(code, [line for line in text.splitlines() if line.strip() and "%" not in line], text)

    @staticmethod
    def _end_of(process: BaseProcess) -> int | None:
        process.join(LIMIT_S)
        hangs = process.exitcode is None
        process.kill()
        process.join()
        assert not hangs, f"not at its end after {LIMIT_S} s"
        return process.exitcode


class Disk:
    """A folder in which a command finds no more than some bytes, until there is room again.

    A file system of its own where the tests may mount one; elsewhere the size of files is limited.
    """

    BYTES = 192 << 20

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.mounted = _system("mount", "-t", "tmpfs", "-o", f"size={self.BYTES}", "tmpfs", str(folder))
        self._ballast = folder / "ballast"

    def leave(self, free: int) -> dict[str, int]:
        """Leave so many bytes; the limits to start the command with."""
        if not self.mounted:
            return {"file_bytes": free}
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free - free)
        return {}

    def clear(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            assert _system("umount", "-l", str(self.folder))


def _system(program: str, *arguments: str) -> bool:
    """Whether the system has this program, and lets us use it so."""
    found = shutil.which(program)
    return found is not None and subprocess.run([found, *arguments], capture_output=True, check=False).returncode == 0


def leftovers(folder: Path) -> list[Path]:
    """Half-written files."""
    return [path for path in folder.rglob("*") if ".part" in path.name or path.name.startswith(".tmp")]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the locks, by its path in the folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def wait_for_orphans(folder: Path) -> None:
    """Until no ffmpeg that a killed process left behind works in a folder any more."""
    until_s = time.monotonic() + LIMIT_S
    while any(str(folder).encode() in line for line in _command_lines()):
        assert time.monotonic() < until_s, "ffmpeg outlives the process that it worked for"
        time.sleep(0.02)


def _command_lines() -> list[bytes]:
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes())
        except OSError:  # it has ended
            continue
    return [line for line in lines if b"ffmpeg" in line]
