"""How many threads torch computes with: one in each of ours while several of them compute, and then as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_usual: list[int] = []  # torch's number before, once for everyone who is inside


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Threads that begin inside compute with one thread each; yields how many torch used before.

    Threads that work on one operation wait for each other in a busy loop: where something else needs the processors,
    such as an encoder, that takes several times as long as the operation in one thread.
    """
    with _lock:
        _usual.append(_usual[0] if _usual else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield _usual[0]
    finally:
        with _lock:
            before = _usual.pop()
            torch.set_num_threads(1 if _usual else before)


def single_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Threads, begun at once, in which torch computes with one thread each."""
    pool, all_there = ThreadPoolExecutor(count, name), threading.Barrier(count)

    def begin(_: int) -> int:
        all_there.wait()
        return torch.get_num_threads()  # decides about those of this thread

    with one_thread_each():
        list(pool.map(begin, range(count)))
    return pool
