"""The worker: jobs of the core run in one thread, shown on their node and stopped by Cancel."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

import comfy.model_management

from ...udh_core.progress import Job
from .display import Display

T = TypeVar("T")
POLL_S = 0.1  # how soon Cancel is noticed
CLOSE_S = 1.5  # how long Cancel waits for the state to be saved; then it goes on in the background

# One thread does the work of all nodes, so that Cancel need not wait for a long step, and so that what the last run
# still has to save is saved before the next one begins. It is never in inference mode, as the graph's own thread is.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="udh")


def run_job(job: Job[T], stages: Mapping[str, float] | None = None) -> T:
    """Do a job, with bar, text and preview on the node that is running; its result. Cancel acts at any moment.

    A node runs one job, which has one bar; `stages` as in `Display`. However it ends, the job is closed between two
    items, so that it saves what can be resumed.
    """
    display = Display(stages or {})
    try:
        while (step := _wait(_WORKER.submit(next, job, None))) is not None:
            display.show(step)
    finally:
        _close(job)
    display.finish()
    return job.result


def wait_for_worker() -> None:
    """Wait until what was cancelled has saved its state; a step may take a while to end."""
    _wait(_WORKER.submit(lambda: None))


def _wait(future: Future[T]) -> T:
    try:
        while True:
            comfy.model_management.throw_exception_if_processing_interrupted()
            done, _ = wait([future], POLL_S)
            if done:
                return future.result()
    finally:
        future.cancel()  # where it has not begun yet


def _close(job: Job[T]) -> None:
    """Close in the worker, behind the step that may still run there."""
    closing = _WORKER.submit(job.close)
    try:
        closing.result(CLOSE_S)
    except FutureTimeout:
        logging.getLogger(__name__).info("cancelled; the step that was begun will be finished and saved")
