"""Background threads that compute ahead: the items of an iterator in one, a function of each item in several."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


def prefetch(source: Iterable[T], depth: int = 3) -> Generator[T, None, None]:
    """The items of `source`, computed ahead in one thread, at most `depth` waiting; an error in it is raised here.

    Closing this closes the source.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, value: object) -> None:
        while not stop.is_set():
            try:
                return ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        iterator: Iterator[T] | None = None
        try:
            iterator = iter(source)
            for item in iterator:
                put("item", item)
                if stop.is_set():
                    break
            put("end", None)
        except BaseException as error:  # noqa: BLE001 (handed over and raised in the caller)
            put("error", error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise cast(BaseException, value)
            if kind == "end":
                return
            yield cast(T, value)
    finally:
        stop.set()
        thread.join()


def mapped(function: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """`function` of every item, in order, computed in so many threads, one result ahead; its error is raised here.

    Closing this waits for what is being computed.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
