"""A jobs file from its first line to its last, however often that takes: what is done is not done again."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ..files import check_apart, check_writable
from ..progress import Progress, job
from .addresses import check_local
from .jobs import BatchOptions
from .journal import DONE, Journal, beside
from .lines import JobLine, check_inputs, read_jobs
from .outcome import Fault, Outcome
from .plan import Plan
from .workers import LocalPool, Pool

FAILED = "failed"
LOOK_S = 0.5  # from one look at the workers to the next
LONGEST_PAUSE_S = 60.0  # before a job is tried again
IN_USE_RETRIES = 10  # with growing pauses: five minutes


@dataclass
class Summary:
    """What became of the jobs of a file."""

    done: int = 0  # in this run
    earlier: int = 0  # done by earlier runs
    failed: list[dict[str, Any]] = field(default_factory=list)  # results, as in the file of results
    faults: set[Fault] = field(default_factory=set)  # why


@job
def run_batch(
    jobs_file: str | Path, options: BatchOptions = BatchOptions(), *, results: Path | None = None
) -> Generator[Progress, None, Summary]:
    """Do the jobs of a file; the result says how many ended well.

    Beside jobs.jsonl lie jobs.journal.jsonl, by which another run goes on after this one was stopped or killed, and
    (or as `results`) jobs.results.jsonl: a line for each job that has ended, also in an earlier run. A job whose worker
    died is tried again; one that fails of its input fails once, and the others go on. Raises FormatError when a line is
    at fault, before anything is done; InUseError while another run does the same file.
    """
    jobs_file = Path(jobs_file)
    check_local(jobs_file, "a jobs file, with its journal,")
    if results is not None:
        check_local(results, "the file of results")
    jobs = read_jobs(jobs_file)
    journal_file, results = beside(jobs_file, "journal"), results or beside(jobs_file, "results")
    check_apart([journal_file, results], [jobs_file])
    check_writable(results)
    with Journal(journal_file) as journal:
        done = {line.number: journal.done[line.key] for line in jobs if _is_done(line, journal)}
        check_inputs([line for line in jobs if line.number not in done], jobs_file, journal.begun)
        plan = Plan(jobs, done)
        with results.open("w", encoding="utf-8") as file:
            batch = _Batch(plan, journal, file, options, {line.number: line for line in jobs})
            for line in jobs:
                if line.number in done:
                    batch.repeat(line, done[line.number])
            if plan.open:
                with closing(_pool(options, len(plan.open))) as pool:
                    yield from batch.work_through(pool)
    return batch.summary


def _is_done(line: JobLine, journal: Journal) -> bool:
    """An output that was deleted is made again, unless it lies at an address."""
    there = not line.job.is_here(line.job.output) or line.job.output.exists()
    return line.key in journal.done and there


def _pool(options: BatchOptions, jobs: int) -> Pool:
    if options.engine == "ray":
        from .cluster import RayPool

        return RayPool(options.address, options.workers)
    return LocalPool(min(jobs, options.workers or os.cpu_count() or 1))


class _Batch:
    """The state of one run."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        results: TextIO,
        options: BatchOptions,
        lines: Mapping[int, JobLine],
    ) -> None:
        self.summary = Summary()
        self._plan, self._journal, self._results, self._options, self._lines = plan, journal, results, options, lines
        self._running: set[int] = set()
        self._attempts: Counter[int] = Counter()
        self._faults: Counter[tuple[int, Fault]] = Counter()

    def repeat(self, line: JobLine, result: Mapping[str, Any]) -> None:
        """A job that an earlier run has done has its line among the results."""
        self.summary.earlier += 1
        self._write({**result, "line": line.number})

    def work_through(self, pool: Pool) -> Iterator[Progress]:
        """Until no job is left that could be done."""
        while self._plan.open:
            self._fill(pool)
            yield self._progress()
            if not self._running:
                time.sleep(LOOK_S)
                continue
            for number, outcome in pool.wait(LOOK_S):
                self._running.discard(number)
                self._take(self._lines[number], outcome)
        yield self._progress()

    def _fill(self, pool: Pool) -> None:
        for _ in range(pool.room()):
            line = self._plan.next(time.monotonic())
            if line is None:
                return
            again = line.key in self._journal.begun
            self._attempts[line.number] += 1
            self._journal.begin(line.key, line.number, self._attempts[line.number])
            self._running.add(line.number)
            pool.start(line.number, line.job, again)

    def _take(self, line: JobLine, outcome: Outcome) -> None:
        if not outcome.fault:
            self._end(line, outcome, DONE)
            self._plan.done(line.number)
        elif self._may_go_well(line, outcome.fault):
            pause_s = min(2.0 ** (self._attempts[line.number] - 1), LONGEST_PAUSE_S)
            self._plan.again(line.number, time.monotonic() + pause_s)
        else:
            self._fail(line, outcome)

    def _may_go_well(self, line: JobLine, fault: Fault) -> bool:
        """Whether the next attempt may; it counts this one."""
        self._faults[line.number, fault] += 1
        most = {"worker": self._options.retries, "in use": IN_USE_RETRIES}.get(fault, 0)
        return self._faults[line.number, fault] <= most

    def _fail(self, line: JobLine, outcome: Outcome) -> None:
        self._end(line, outcome, FAILED)
        for other in self._plan.failed(line.number):
            why = f"{line.job.called(line.job.output)}, which line {line.number} makes, is not there: that job failed"
            self._end(other, Outcome(outcome.fault, why), FAILED)

    def _end(self, line: JobLine, outcome: Outcome, status: str) -> None:
        result: dict[str, Any] = {
            "line": line.number,
            "command": line.command,
            "out": line.job.called(line.job.output),
            "status": status,
            "attempts": self._attempts[line.number],
            "seconds": outcome.seconds,
            "worker": outcome.worker,
        }
        if status == DONE:
            self.summary.done += 1
        else:
            result["error"] = outcome.error
            self.summary.failed.append(result)
            self.summary.faults.add(outcome.fault)
        self._journal.end(line.key, result)
        self._write(result)

    def _write(self, result: Mapping[str, Any]) -> None:
        self._results.write(json.dumps(result, ensure_ascii=False) + "\n")
        self._results.flush()

    def _progress(self) -> Progress:
        said, failed = self.summary, len(self.summary.failed)
        ended = said.done + said.earlier + failed
        detail = f"{ended} of {len(self._lines)}, {len(self._running)} running"
        detail += f", {failed} failed" if failed else ""
        return Progress("jobs", ended, len(self._lines), detail)
