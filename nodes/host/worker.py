"""The worker: jobs of the core run in one thread, shown on their node and stopped by Cancel; device and memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import TypeVar

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ...udh_core.progress import Job, Progress
from ...udh_core.training.loop import StepReport

T = TypeVar("T")
PREVIEW_EVERY_S = 0.5
TEXT_EVERY_S = 0.5
BAR_EVERY_S = 0.1
POLL_S = 0.1  # how soon Cancel is noticed
CLOSE_S = 1.5  # how long Cancel waits for the state to be saved; then it goes on in the background
PREVIEW_PX = 768
BAR = 1000  # the progress bar's own units

# One thread does the work of all nodes, so that Cancel need not wait for a long step, and so that what the last run
# still has to save is saved before the next one begins. It is never in inference mode, as the graph's own thread is.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="udh")


def run_job(job: Job[T]) -> T:
    """Do a job, with bar, text and preview on the node that is running; its result. Cancel acts at any moment.

    However it ends, the job is closed between two items, so that it saves what can be resumed.
    """
    context = get_executing_context()
    display = _Display(context.node_id if context else None)
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


class _Display:
    """The node's bar, text and picture, not updated more often than a browser can use."""

    def __init__(self, node_id: str | None) -> None:
        self.node_id = node_id
        self.bar = comfy.utils.ProgressBar(BAR, node_id=node_id)
        self.text_s = self.preview_s = self.bar_s = -1e9
        self.text = ""
        self.picture: np.ndarray | None = None  # (H, W, 3) uint8, not sent yet

    def show(self, step: Progress) -> None:
        now = time.monotonic()
        self.text = text_of(step)
        if isinstance(step, StepReport) and step.preview is not None:
            self.picture = step.preview
        if now - self.text_s >= TEXT_EVERY_S:
            self.text_s = now
            self._send_text()
        if self.picture is not None and now - self.preview_s >= PREVIEW_EVERY_S:
            self.preview_s = self.bar_s = now
            self._send_bar(step.fraction)
        elif now - self.bar_s >= BAR_EVERY_S:
            self.bar_s = now
            self.bar.update_absolute(round(step.fraction * BAR), BAR)

    def finish(self) -> None:
        if self.text:
            self._send_text()
            self._send_bar(1.0)

    def _send_bar(self, fraction: float) -> None:
        """The bar, with the picture where there is one that the browser does not have yet."""
        preview = None if self.picture is None else ("JPEG", Image.fromarray(self.picture), PREVIEW_PX)
        self.picture = None
        self.bar.update_absolute(round(fraction * BAR), BAR, preview)

    def _send_text(self) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and self.node_id is not None:
            server.send_progress_text(self.text, self.node_id)


def text_of(step: Progress) -> str:
    """`frames 12 / 150, 25.1 frames/s`; what is not counted in whole things has a percentage."""
    counted = step.total > 1
    how_far = f"{step.done:.0f} / {step.total:.0f}" if counted else f"{step.fraction:.0%}"
    return f"{step.stage} {how_far}" + (f", {step.detail}" if step.detail else "")


def device() -> str:
    """The device ComfyUI computes on, as torch spells it."""
    return str(comfy.model_management.get_torch_device())


@contextmanager
def alone_on_device(training: bool = False) -> Iterator[str]:
    """The device, with ComfyUI's other models moved off it; `training` also tells ComfyUI so."""
    management = comfy.model_management
    management.unload_all_models()
    management.soft_empty_cache()
    known = training and hasattr(management, "in_training")
    if known:
        management.in_training = True
    try:
        with torch.inference_mode(False):  # what is opened in inference mode could never take part in training
            yield device()
    finally:
        if known:
            management.in_training = False
        management.soft_empty_cache()


def free_ram_bytes() -> int:
    """What is free of the main memory."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    return int(free[0] if isinstance(free, tuple) else free)
