"""Which job is next: what it needs comes before it, then priority, then the order of the file."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from ..errors import FormatError
from .lines import JobLine


class Plan:
    """The jobs that are not done yet, by number of line. FormatError: some wait for each other in a circle."""

    def __init__(self, jobs: Sequence[JobLine], done: Iterable[int] = ()) -> None:
        finished = set(done)
        self._lines = {line.number: line for line in jobs if line.number not in finished}
        self._order = TopologicalSorter({n: set(line.needs) - finished for n, line in self._lines.items()})
        try:
            self._order.prepare()
        except CycleError as e:
            circle = ", ".join(map(str, e.args[1]))
            raise FormatError(f"the jobs of lines {circle} wait for each other; give one of them other files") from e
        self._ready: list[tuple[int, int]] = []  # a heap of (-priority, number)
        self._later: list[tuple[float, int]] = []  # a heap of (when, number)
        self.open = set(self._lines)  # numbers of jobs that have not ended
        self._release()

    def next(self, now_s: float) -> JobLine | None:
        """The job to begin; None when all others run, or have to wait."""
        while self._later and self._later[0][0] <= now_s:
            self._push(heapq.heappop(self._later)[1])
        return self._lines[heapq.heappop(self._ready)[1]] if self._ready else None

    def again(self, number: int, when_s: float) -> None:
        """A job that was begun shall be begun once more."""
        heapq.heappush(self._later, (when_s, number))

    def done(self, number: int) -> None:
        """A job has ended well: what needs it may begin."""
        self.open.discard(number)
        self._order.done(number)
        self._release()

    def failed(self, number: int) -> list[JobLine]:
        """A job has ended badly; the jobs that cannot be done because of that."""
        lost = {number}
        while more := {n for n in self.open - lost if lost & set(self._lines[n].needs)}:
            lost |= more
        self.open -= lost
        return [self._lines[n] for n in sorted(lost - {number})]

    def _release(self) -> None:
        for number in self._order.get_ready():
            self._push(number)

    def _push(self, number: int) -> None:
        heapq.heappush(self._ready, (-self._lines[number].priority, number))
