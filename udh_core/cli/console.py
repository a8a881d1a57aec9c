"""The terminal: what is printed, and long work shown as it goes."""

from __future__ import annotations

import io
import logging
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..progress import Job
from ..progress import Progress as Step

R = TypeVar("R")

EVERY_S = 60.0  # a line about long work, where the output is no terminal

# Names of files go out as they are: no [markup] in them, no :emoji:.
console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


def replace_odd_characters() -> None:
    """What the terminal's encoding cannot show becomes a question mark, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run(job: Job[R], prefix: str = "") -> R:
    """Pull a job to its end with one bar for each stage; its result.

    Nothing is shown before the first step, so that an error before it stands alone. Where the output is no terminal
    there is one line for each stage, and one every minute.
    """
    with closing(job):
        first = next(job, None)
        if first is not None:
            steps = chain([first], job)
            if console.is_terminal:
                _show_bars(steps, prefix)
            else:
                list_steps(steps, prefix)
    return job.result


def list_steps(steps: Iterable[Step], prefix: str, every_s: float = EVERY_S) -> None:
    """A line when a stage begins, and one whenever `every_s` have passed since the last line."""
    current, said_s = "", time.monotonic()
    for step in steps:
        name = prefix + step.stage
        if name != current or time.monotonic() - said_s >= every_s:
            current, said_s = name, time.monotonic()
            line = f"{name:28} {step.fraction:4.0%}  {step.detail}"
            console.print(line.rstrip(), soft_wrap=True)


def _show_bars(steps: Iterable[Step], prefix: str) -> None:
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[remark]}"), console=console) as progress:
        task: TaskID | None = None
        current = ""
        for step in steps:
            name = prefix + step.stage
            if name != current:
                _complete(progress, task)
                task, current = progress.add_task(name, total=step.total, remark=step.detail), name
            if task is not None:
                progress.update(task, completed=step.done, total=step.total, remark=step.detail)
        _complete(progress, task)


def _complete(progress: Progress, task: TaskID | None) -> None:
    if task is not None:
        progress.update(task, completed=progress.tasks[task].total)


def with_flags(message: str) -> str:
    """A message of the core with its options as they are given here: `start_s` → --start, `skip_lost` → --skip-lost."""
    return re.sub(r"`([a-z_]+)`", lambda found: "--" + found[1].removesuffix("_s").replace("_", "-"), message)


def on_one_line(message: str) -> str:
    """The message with question marks for the line breaks and control characters that names of files may hold."""
    obeyed = ("Cc", "Zl", "Zp")  # by a terminal: control characters, separators of lines and paragraphs
    return "".join("?" if unicodedata.category(one) in obeyed else one for one in message)


class InFlags(logging.Formatter):
    """Writes what the core logs as `with_flags` does."""

    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


def show_lines(lines: Iterable[str]) -> Iterator[str]:
    """Print lines as they come."""
    for line in lines:
        console.print(line, soft_wrap=True)
        yield line
