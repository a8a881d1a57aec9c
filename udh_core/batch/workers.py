"""Worker processes of this machine: each does one job after the other, and may die without harm to the others."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple, Protocol

from .jobs import AnyJob
from .outcome import Outcome
from .work import perform

PATIENCE_S = 10.0  # for a worker that is asked to end
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Pool(Protocol):
    """Where jobs are done; `number` is the caller's own for a job."""

    def room(self) -> int:
        """How many more jobs can begin at once."""
        ...

    def start(self, number: int, task: AnyJob, again: bool) -> None:
        """Begin a job; `again`: it was begun before."""
        ...

    def wait(self, timeout_s: float) -> list[tuple[int, Outcome]]:
        """Which jobs have ended, and how, when one of those that run does, or the time is over."""
        ...

    def close(self) -> None:
        """End the workers, whatever they do; nothing half-written stays."""
        ...


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class LocalPool:
    """So many spawned processes, which share the processors; each is begun when there is a job for it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._context = get_context("spawn")
        self._idle: list[_Worker] = []
        self._busy: dict[int, _Worker] = {}

    def room(self) -> int:
        """How many more jobs can begin at once."""
        return self._workers - len(self._busy)

    def start(self, number: int, task: AnyJob, again: bool) -> None:
        """Begin a job; `again`: it was begun before."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                break
        else:
            worker = self._new()
        self._busy[number] = worker
        try:
            worker.connection.send((task, again))
        except OSError:
            return  # it has died just now: `wait` finds that out

    def wait(self, timeout_s: float) -> list[tuple[int, Outcome]]:
        """Which jobs have ended, and how, when one of those that run does, or the time is over."""
        ready = wait([worker.connection for worker in self._busy.values()], timeout_s)
        ended = [number for number, worker in self._busy.items() if worker.connection in ready]
        return [(number, self._outcome(self._busy.pop(number))) for number in ended]

    def close(self) -> None:
        """End the workers, whatever they do; nothing half-written stays."""
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE_S)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self._idle, self._busy = [], {}

    def _new(self) -> _Worker:
        threads = max(1, (os.cpu_count() or 1) // self._workers)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, threads), daemon=True)
        with _deaf_to_interrupts():  # the child inherits that, and Ctrl-C leaves it to us to end it
            process.start()
        theirs.close()  # so that the pipe ends when the worker does
        return _Worker(process, ours)

    def _outcome(self, worker: _Worker) -> Outcome:
        try:
            outcome: Outcome = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.connection.close()
            return Outcome("worker", f"the worker process died ({_ending(worker.process)})")
        self._idle.append(worker)
        return outcome


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What is begun meanwhile gets no Ctrl-C; one that comes meanwhile is ours when this ends."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows a process sees to it by itself
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}: memory may be short, take fewer `workers`" if name == "SIGKILL" else name


def serve(connection: Connection, threads: int) -> None:
    """A worker's life: a job, its outcome, the next job; `threads` for the networks, unless the environment says."""
    for name in THREADS:
        os.environ.setdefault(name, str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows passes it to every process of the terminal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is half-written is removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task, again = connection.recv()
        except EOFError:
            return
        connection.send(perform(task, again))


def _end_with_parent() -> None:
    """Work for nobody would keep the next run out of the same files."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
