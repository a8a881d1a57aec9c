"""The terminal: what is printed, and long work shown as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..progress import Job

T = TypeVar("T")
R = TypeVar("R")

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def run(job: Job[R], prefix: str = "") -> R:
    """Pull a job to its end with one bar for each stage; its result."""
    show(job, lambda step: (prefix + step.stage, step.done, step.total, step.detail))
    return job.result


def show(items: Iterable[T], describe: Callable[[T], tuple[str, float, float, str]]) -> T | None:
    """Pull an iterator to its end with one bar per stage; returns the last item."""
    last: T | None = None
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[remark]}"), console=console) as progress:
        task: TaskID | None = None
        current = ""
        for last in items:
            name, done, total, remark = describe(last)
            if name != current:
                _complete(progress, task)
                task, current = progress.add_task(name, total=total, remark=remark), name
            if task is not None:
                progress.update(task, completed=done, total=total, remark=remark)
        _complete(progress, task)
    return last


def _complete(progress: Progress, task: TaskID | None) -> None:
    if task is not None:
        progress.update(task, completed=progress.tasks[task].total)


def show_lines(lines: Iterable[str]) -> Iterator[str]:
    """Print lines as they come."""
    for line in lines:
        console.print(line, soft_wrap=True)
        yield line
