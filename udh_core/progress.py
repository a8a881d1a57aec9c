"""The one protocol of long work: a job is an iterator of progress, and has a result once it is pulled to its end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
S = TypeVar("S")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Progress:
    """How far one stage of a job is."""

    stage: str  # what is being done, in a word or two: "landmarks"
    done: float
    total: float = 1.0  # in the unit of `done`
    detail: str = ""  # for people: "25.1 frames/s"

    @property
    def fraction(self) -> float:
        """0..1 of the stage."""
        return min(self.done / self.total, 1.0) if self.total else 1.0


class Job(Generic[T]):
    """Long work that the caller pulls: iterating yields `Progress`, `run()` pulls to the end, `result` is what it made.

    Nothing happens before the first pull. `close()` ends the work between two items, so that what can be resumed is
    saved; a job that was closed or has failed has no result.
    """

    def __init__(self, steps: Generator[Progress, None, T]) -> None:
        self._steps = steps
        self._results: list[T] = []

    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        if inspect.getgeneratorstate(self._steps) == inspect.GEN_CLOSED:
            raise StopIteration
        try:
            return next(self._steps)
        except StopIteration as end:
            self._results.append(end.value)
            raise StopIteration from None

    @property
    def result(self) -> T:
        """What the job has made; RuntimeError before its end."""
        if not self._results:
            raise RuntimeError("the job has not been pulled to its end")
        return self._results[0]

    def run(self) -> T:
        """Do all of the work; what it has made."""
        for _ in self:
            pass
        return self.result

    def steps(self) -> Generator[Progress, None, T]:
        """Do the work as a part of another job, `made = yield from job.steps()`; closing that one closes this one."""
        try:
            yield from self
        finally:
            self.close()
        return self.result

    def close(self) -> None:
        """End the work early."""
        self._steps.close()


def job(work: Callable[Arguments, Generator[Progress, None, S]]) -> Callable[Arguments, Job[S]]:
    """Decorator: a generator function that yields `Progress` and returns a result becomes one that returns a `Job`."""

    @functools.wraps(work)
    def start(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Job[S]:
        return Job(work(*args, **kwargs))

    return start
