"""How good it became: a trained generator on the part of its clip that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.errors import MediaError
from ..udh_core.evaluation.evaluate import evaluate
from ..udh_core.evaluation.figures import strict_json
from ..udh_core.evaluation.html import write_html
from ..udh_core.evaluation.pictures import draw_evaluation
from ..udh_core.evaluation.result import Evaluation, Progress
from ..udh_core.evaluation.verdict import summary, verdicts
from ..udh_core.inference.sync_scorer import open_syncnet
from ..udh_core.speech.encoders import weight_files
from . import host
from .sockets import AVATAR, CATEGORY, GENERATOR, SYNCNET, Trained, reopened

WEIGHTS = (
    "lpips_alex.safetensors",
    "silero_vad.safetensors",
    "face_detection_short_range.tflite",
    "face_landmark.tflite",
)


class Report(NamedTuple):
    """What there is to show and to say."""

    plots: np.ndarray  # (H, W, 3) uint8
    words: str  # the first two lines say the most
    figures: str  # JSON


class SyncReport(io.ComfyNode):
    """Verdicts, plots and figures of a generator, and a page that holds them all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_SyncReport",
            display_name="Sync Report",
            category=CATEGORY,
            description="Judges a generator on the last tenth of its clip, which it never saw: do the lips follow the "
            "sound, do they rest in silence, is the picture sharp? Says so in words, beside what is possible at best "
            "and at worst, and saves one HTML page with everything, the video too.",
            search_aliases=["evaluate", "lip sync quality", "LSE", "metrics"],
            is_output_node=True,
            inputs=[
                AVATAR.Input("avatar", tooltip="The one that the generator was trained on."),
                GENERATOR.Input("generator", tooltip="From Train Generator or Load Generator."),
                io.String.Input(
                    "filename_prefix",
                    default="udh/report",
                    tooltip="Folder and beginning of the page's name below ComfyUI's output folder; a number is added.",
                ),
                SYNCNET.Input(
                    "syncnet",
                    optional=True,
                    tooltip="From Train SyncNet or Load SyncNet: measures how far mouth and sound are apart, too.",
                ),
                io.Audio.Input(
                    "other_voice",
                    optional=True,
                    tooltip="Speech of somebody else: does the mouth follow a strange voice, too?",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plots", tooltip="The report as one picture."),
                io.String.Output(display_name="summary", tooltip="The verdicts in words, and where the page lies."),
                io.String.Output(display_name="json", tooltip="All figures as JSON."),
            ],
        )

    @classmethod
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        filename_prefix: str,
        syncnet: Trained | None = None,
        other_voice: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        voice = None if other_voice is None else host.sound_file(other_voice, "Sync Report")
        out, _ = host.next_output(filename_prefix, suffix=".html")
        found = reopened(avatar)
        with host.alone_on_device() as device:
            report = host.pull(judged(found, generator, syncnet, voice, out, device), describe)
        if not isinstance(report, Report):
            raise MediaError("Sync Report has nothing to judge; use a longer clip")
        plots = host.image_of(report.plots)
        shown = {**ui.PreviewImage(plots, cls=cls).as_dict(), "text": (report.words,)}
        return io.NodeOutput(plots, report.words, report.figures, ui=shown)


def judged(
    avatar: Avatar, generator: Trained, syncnet: Trained | None, voice: Path | None, out: Path, device: str
) -> Iterator[Progress | Report]:
    """Evaluate and write the page; the last item is the Report."""
    models = host.weights(*WEIGHTS, *weight_files(generator.info.encoder))
    judge = open_syncnet(syncnet.path, device) if syncnet else None
    for step in evaluate(avatar, generator.path, syncnet=judge, voice=voice, models=models, device=device):
        if isinstance(step, Evaluation):
            yield Progress("report", 0, 1)
            title = f"{generator.path.stem}: the mouth of {avatar.root.name}, judged"
            write_html(out, title, step, syncnet=syncnet.info if syncnet else None, sound=avatar.audio)
            yield Report(draw_evaluation(title, step), in_words(step, out), strict_json(step.to_dict()))
        else:
            yield step


def in_words(evaluation: Evaluation, page: Path) -> str:
    """How many verdicts of each kind, where the page lies, and the verdicts, one a line."""
    found = verdicts(evaluation)
    return "\n".join([summary(found), f"report: {page}", *[verdict.line() for verdict in found]])


def describe(step: Progress | Report) -> host.Shown:
    """A step in words; in the end the first lines of the summary."""
    if isinstance(step, Report):
        return host.Shown("\n".join(step.words.splitlines()[:2]), 1.0)
    words = {"measure": "measuring", "report": "writing the report"}.get(step.row, f"drawing: {step.row}")
    return host.Shown(f"{words} {step.done} / {step.total}", step.done / max(step.total, 1))
