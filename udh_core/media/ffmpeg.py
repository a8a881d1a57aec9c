"""The ffmpeg program as a child process: argument lists, never a shell; stderr kept for the error message."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from ..errors import MediaError
from ..progress import Progress

FED = ("-hide_banner", "-v", "error")  # reads frames from its standard input
QUIET = (*FED, "-nostdin")
ERROR_CHARACTERS = 300  # of what ffmpeg says, in one line of ours
BOILERPLATE = (
    "Task finished|Terminating thread|Nothing was written|Conversion failed|Last message repeated|Error closing"
)
LISTS = "applehttp|concat|dash|hls|imf|sdp"  # formats that name other files or addresses: not for us to follow
PIPE_BYTES = 1 << 20  # Linux grants 64 KB by default: a 720p frame would take 42 turns between the two processes


@functools.cache
def ffmpeg_path() -> str:
    """The ffmpeg binary that imageio-ffmpeg brings, or that IMAGEIO_FFMPEG_EXE names; MediaError when there is none."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as e:
        raise MediaError("no ffmpeg program found; reinstall imageio-ffmpeg with pip") from e


def url(path: Path) -> str:
    """A path as ffmpeg must see it: a leading dash or a colon in the name is neither an option nor a protocol."""
    return f"file:{path}"


def no_media(path: Path) -> MediaError:
    """The error of a file in which there is neither picture nor sound."""
    return MediaError(f"{path} is not an audio or video file, or it is empty or damaged; give another")


def check_readable(path: Path) -> Path:
    """The path as it is; MediaError when there is no such file."""
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a video or audio file")
    if path.exists() and not path.is_file():
        raise MediaError(f"{path} is a device or a pipe; save what comes from it in a file, and give that")
    if not path.is_file():
        raise MediaError(f"no such file: {path}")
    return path


@dataclass
class Child:
    """A running ffmpeg. Its stderr flows into an unnamed file, so that it can never fill a pipe and block."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        """What ffmpeg reads from; ValueError unless started with pipe="stdin"."""
        if self.process.stdin is None:
            raise ValueError("this ffmpeg was started without an input pipe")
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What ffmpeg writes to; ValueError unless started with pipe="stdout"."""
        if self.process.stdout is None:
            raise ValueError("this ffmpeg was started without an output pipe")
        return self.process.stdout

    def log_text(self) -> str:
        """All of stderr so far."""
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def error_summary(self) -> str:
        """Stderr as one line: how it began, which names the cause, and how it ended."""
        lines = [re.sub(r"^(\[[^]]*\] )+", "", line.strip()) for line in self.log_text().splitlines()]
        causes = list(dict.fromkeys(line for line in lines if line and not re.match(BOILERPLATE, line)))
        summary = ", ".join(causes if len(causes) < 4 else [causes[0], *causes[-2:]])
        return summary[:ERROR_CHARACTERS] or self._how_it_ended()

    def _how_it_ended(self) -> str:
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            remedy = "update imageio-ffmpeg with pip"  # it crashed
            if name in ("SIGKILL", "SIGTERM"):  # by the system when memory is short
                remedy = "close other programs and run it again"
            return f"ffmpeg was ended by {name}, {remedy}"
        return f"ffmpeg ended with code {code}"

    def finish(self, failure: str) -> None:
        """Wait for the end; MediaError `failure` with `error_summary` when it went wrong."""
        if self.process.wait() != 0:
            raise MediaError(f"{failure}: {self.error_summary()}")


def _start(
    arguments: Sequence[str], pipe: Literal["stdin", "stdout", "none"], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    program = ffmpeg_path()
    try:
        return subprocess.Popen(  # noqa: S603 - an argument list with a binary that pip installed
            [program, *arguments],
            stdin=subprocess.PIPE if pipe == "stdin" else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe == "stdout" else subprocess.DEVNULL,
            stderr=log,
            # Ctrl-C is for us to handle (remove the partial file, say where we stopped), not for ffmpeg to race with.
            start_new_session=os.name == "posix",
        )
    except OSError as e:
        log.close()
        raise MediaError(
            f"cannot run {program}: {e.strerror}; reinstall imageio-ffmpeg with pip, or unset IMAGEIO_FFMPEG_EXE"
        ) from e


@contextmanager
def process(arguments: Sequence[str], pipe: Literal["stdin", "stdout", "none"] = "none") -> Iterator[Child]:
    """Run ffmpeg for as long as the block lasts; when the block is left early, it is ended. MediaError: no ffmpeg."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, after the process that writes to it
    child = _start(arguments, pipe, log)
    for end in (child.stdin, child.stdout):
        _widen(end)
    try:
        yield Child(child, log)
    finally:
        _end(child)
        log.close()


def run(arguments: Sequence[str], failure: str) -> None:
    """Run ffmpeg to its end; MediaError `failure` with ffmpeg's own reason when it went wrong."""
    for _ in run_iter(arguments, failure, stage="ffmpeg"):
        pass


def run_iter(arguments: Sequence[str], failure: str, *, stage: str, total: int = 0) -> Generator[Progress, None, None]:
    """`run`, yielding progress about twice a second; closing it ends ffmpeg.

    `done` counts the frames written; `total` is how many there will be, as far as that is known before.
    """
    with process([*QUIET, "-nostats", "-progress", "pipe:1", *arguments], "stdout") as child:
        for line in child.stdout:
            if line.startswith(b"frame="):
                done = int(line[6:])
                yield Progress(stage, done, max(done, total))
        child.finish(failure)


def describe(path: Path) -> str:
    """What ffmpeg prints about a file's streams; MediaError when there is no such file, or it is no media file."""
    with process(["-hide_banner", "-nostdin", "-i", url(check_readable(path))]) as child:
        return input_description(child, path)  # it ends with an error: "at least one output file must be specified"


def input_description(child: Child, path: Path) -> str:
    """Wait for the end, however it comes; then what was printed about the input.

    MediaError when that is nothing, or when the input is a list of other files.
    """
    code = child.process.wait()
    text = child.log_text()
    if re.search(rf"^Input #0, (\S+,)?({LISTS})\b", text, re.MULTILINE):
        raise MediaError(f"{path} is a list of other files; give the video or audio file itself")
    found = re.search(r"^Input #0, (?!tty)", text, re.MULTILINE)  # tty: any text file, as a picture of a terminal
    if found:
        return re.split(r"\n(?=Output #0|Stream mapping:)", text[found.start() :])[0]
    if code < 0:  # a signal; some static builds die of MPEG-TS
        raise MediaError(f"ffmpeg crashed while opening {path}; update imageio-ffmpeg with pip, or convert the file")
    raise no_media(path)


def container_zero_s(description: str) -> float:
    """When the container's earliest stream begins, on its own clock: MPEG-TS starts at 1.4 s, late audio at 0.

    With `-copyts` every stream is read on that clock. Left to itself ffmpeg lets the zero of some formats depend on the
    streams in use, and sound and picture, read one after the other, would drift apart.
    """
    found = re.search(r"Duration: [^\n]*?, start: (-?[\d.]+)", description)
    return float(found[1]) if found else 0.0


def _widen(end: IO[bytes] | None) -> None:
    if end is None:
        return
    try:
        import fcntl

        fcntl.fcntl(end.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return  # not Linux, or the user's pipe quota is spent: slower, not wrong


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdout:
        process.stdout.close()
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin and not process.stdin.closed:
        try:
            process.stdin.close()
        except OSError:
            return  # what was still buffered has no reader any more
