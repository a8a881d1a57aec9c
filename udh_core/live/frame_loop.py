"""The thread that draws the frames of all sessions: those due at one time together.

They are one batch of the network; on a CPU one for each of the threads that compute, see `single_threads`.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ..models.threads import single_threads
from ..rendering.live_person import LivePerson
from ..rendering.stream import Due, pace, with_patches
from .session import Session

MOST_THREADS = 16  # that compute beside each other, each for other sessions
T = TypeVar("T")
R = TypeVar("R")


class FrameLoop:
    """All sessions have one clock, which stands still while there are none.

    Where drawing does not keep up, all of them show the picture before, as `pace` says; sound goes on.
    """

    def __init__(self, person: LivePerson) -> None:
        self.person = person
        self.frames = 0  # that were due, of all sessions
        self.late = 0  # of these, how many showed the picture before because drawing was late
        self._arrived: queue.SimpleQueue[Session | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._pool = single_threads(self._threads, "live worker")
        self._thread = threading.Thread(target=self._run, name="live frames", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """False: nothing is drawn any more."""
        return not self._ended.is_set()

    def add(self, session: Session) -> None:
        """Its frames begin with the next one that is due, and go on until it leaves."""
        self._arrived.put(session)
        if self._ended.is_set():
            self._release_arrived()

    def draw(self, sessions: Sequence[Session], *, late: bool = False) -> None:
        """The next frame of each; late: the picture before, with the sound that is due."""
        self.frames += len(sessions)
        self.late += len(sessions) if late else 0
        begun = self._each(lambda session: (session, session.due_frame(late=late)), sessions)
        ready = [(session, due) for session, due in begun if due is not None]
        try:
            drawn = self._drawn([due for _, due in ready])
        except Exception as error:  # noqa: BLE001 (whatever it is, whoever waits for a frame is told)
            for session, _ in ready:
                session.fail(error)
            return
        self._each(lambda one: one[0][0].show(*one[1]), list(zip(ready, drawn, strict=True)))

    def close(self) -> None:
        """End the thread; sessions that are left are released."""
        self._ended.set()
        self._arrived.put(None)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        try:
            while not self._ended.is_set() and (session := self._arrived.get()) is not None:
                self._show([session])
        finally:
            self._ended.set()
            self._release_arrived()

    def _release_arrived(self) -> None:
        for session in self._new():
            session.release()

    def _new(self) -> list[Session]:
        found: list[Session] = []
        while not self._arrived.empty():
            session = self._arrived.get()
            found += [] if session is None else [session]
        return found

    def _show(self, sessions: list[Session]) -> None:
        """Frames of these sessions, and of those that arrive meanwhile, until all have left."""
        try:
            for _, late in pace(self.person.fps, sleep=self._ended.wait):
                sessions += self._new()
                for session in [one for one in sessions if one.leaves]:
                    sessions.remove(session)
                    session.release()
                if not sessions or self._ended.is_set():
                    return
                self.draw(sessions, late=late)
        finally:
            for session in sessions:
                session.release()

    def _drawn(self, due: Sequence[Due]) -> list[tuple[Due, np.ndarray]]:
        batches = self._threads if self.person.compositor.limit.device.type == "cpu" else 1
        size = max(1, math.ceil(len(due) / batches))
        parts = [due[start : start + size] for start in range(0, len(due), size)]
        return [one for part in self._each(lambda part: with_patches(self.person, part), parts) for one in part]

    def _each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Beside each other; a single one with torch's own threads, where decoding and encoder leave some of them."""
        alone = len(items) == 1 and self._threads > 2
        return [work(item) for item in items] if alone else list(self._pool.map(work, items))
