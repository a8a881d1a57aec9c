"""What a node shows while it works and after: one bar, one text, one picture, in the browser that queued it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import comfy.utils
import numpy as np
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ...udh_core.progress import Progress
from ...udh_core.training.loop import StepReport

PREVIEW_EVERY_S = 0.5
TEXT_EVERY_S = 0.5
BAR_EVERY_S = 0.1
PREVIEW_PX = 768
BAR = 1000  # the progress bar's own units
LEFT_AFTER_S = 2.0  # of a stage, before the time it will still take can be said


class Display:
    """The bar, text and picture of the node that is running, not updated more often than a browser can use."""

    def __init__(self, stages: Mapping[str, float]) -> None:
        """stages: those the node's job goes through, in order, and how long each takes in relation to the others."""
        self.node_id = _running_node()
        self.bar = comfy.utils.ProgressBar(BAR, node_id=self.node_id)
        self.course, self.clock = Course(stages), StageClock()
        self.text_s = self.preview_s = self.bar_s = -1e9
        self.text = ""
        self.picture: np.ndarray | None = None  # (H, W, 3) uint8, not sent yet

    def show(self, step: Progress) -> None:
        """Show where the work is."""
        now = time.monotonic()
        self.text = text_of(step, self.clock.left_s(step, now))
        part = self.course.at(step)
        if isinstance(step, StepReport) and step.preview is not None:
            self.picture = step.preview
        if now - self.text_s >= TEXT_EVERY_S:
            self.text_s = now
            send_text(self.text, self.node_id)
        if self.picture is not None and now - self.preview_s >= PREVIEW_EVERY_S:
            self.preview_s = self.bar_s = now
            self._send_bar(part)
        elif now - self.bar_s >= BAR_EVERY_S:
            self.bar_s = now
            self.bar.update_absolute(round(part * BAR), BAR)

    def finish(self) -> None:
        """The job is done: the last text and picture, and a full bar."""
        if self.text:
            send_text(self.text, self.node_id)
            self._send_bar(1.0)

    def _send_bar(self, part: float) -> None:
        """The bar, with the picture where there is one that the browser does not have yet."""
        preview = None if self.picture is None else ("JPEG", Image.fromarray(self.picture), PREVIEW_PX)
        self.picture = None
        self.bar.update_absolute(round(part * BAR), BAR, preview)


class Course:
    """How far a node is over all its stages, 0..1; it never goes back. Stages that are left out are jumped over."""

    def __init__(self, stages: Mapping[str, float]) -> None:
        self.stages, self.whole = stages, sum(stages.values())
        self.reached = 0.0

    def at(self, step: Progress) -> float:
        """0..1; a stage that is not in the list does not move it, unless there is no list."""
        if not self.stages:
            self.reached = max(self.reached, step.fraction)
        elif step.stage in self.stages:
            before = list(self.stages).index(step.stage)
            done = sum(list(self.stages.values())[:before]) + self.stages[step.stage] * step.fraction
            self.reached = max(self.reached, done / self.whole)
        return self.reached


class StageClock:
    """How long the stage that runs will still take, by what it has done since it was first seen."""

    def __init__(self) -> None:
        self.stage, self.began_s, self.began_at = "", 0.0, 0.0

    def left_s(self, step: Progress, now_s: float) -> float | None:
        """Seconds; None as long as nothing can be said."""
        if step.stage != self.stage:
            self.stage, self.began_s, self.began_at = step.stage, now_s, step.fraction
        spent_s, done = now_s - self.began_s, step.fraction - self.began_at
        if spent_s < LEFT_AFTER_S or done <= 0 or step.fraction >= 1:
            return None
        return spent_s * (1 - step.fraction) / done


def text_of(step: Progress, left_s: float | None = None) -> str:
    """`frames 12 / 150, 25.1 frames/s, 6 s left`; what is not counted in whole things has a percentage."""
    counted = step.total > 1
    how_far = f"{step.done:.0f} / {step.total:.0f}" if counted else f"{step.fraction:.0%}"
    left = "" if left_s is None else f"{_duration(left_s)} left"
    return f"{step.stage} {', '.join(filter(None, (how_far, step.detail, left)))}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def say(text: str) -> None:
    """Leave a text on the node that is running, until it runs again."""
    send_text(text, _running_node())


def send_text(text: str, node_id: str | None, client: str | None = None) -> None:
    """To this client, or the one whose prompt is running; to none where that has no name: all would get it."""
    server = getattr(PromptServer, "instance", None)
    client = client or getattr(server, "client_id", None)
    if server is not None and node_id is not None and client is not None:
        server.send_progress_text(text, node_id, client)


def _running_node() -> str | None:
    context = get_executing_context()
    return context.node_id if context else None
