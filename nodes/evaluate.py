"""The node that evaluates a generator on the held-out part of its clip."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.evaluation.evaluate import evaluate
from ..udh_core.evaluation.figures import strict_json
from ..udh_core.evaluation.html import write_html
from ..udh_core.evaluation.pictures import draw_evaluation
from ..udh_core.evaluation.result import DRAWN, Evaluation
from ..udh_core.evaluation.verdict import summary, verdicts
from ..udh_core.inference.sync_scorer import open_syncnet
from ..udh_core.progress import Progress, job
from ..udh_core.speech.encoders import weight_files
from .host import display, folders, made, media, wording, worker
from .host.device import for_inference
from .types import AVATAR, CATEGORY, GENERATOR, SYNCNET, MakesFiles, Trained, reopened

STAGES = {**{f"draw: {name}": 4.0 for name in DRAWN}, "measure": 20.0, "report": 15.0}  # and how long each takes
MOST_FAULTS = 3  # on the node; all of them stand in the report


class Report(NamedTuple):
    """What the node hands out."""

    headline: str  # how many verdicts of each kind, and the worst
    plots: np.ndarray  # (H, W, 3) uint8
    summary: str  # the verdicts in words
    figures: str  # JSON


class SyncReport(MakesFiles):
    """Verdicts, plots and figures of a generator, and a page that holds them all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_SyncReport",
            display_name="Sync Report",
            category=CATEGORY,
            description="Evaluates a generator on the held-out tenth of its clip, which it was not trained on: do the "
            "lips follow the audio, is the mouth at rest in silence, is the picture sharp? Gives verdicts in words, "
            "figures beside the best and worst possible ones, and one HTML page with everything, the video too.",
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
                    tooltip="From Train SyncNet or Load SyncNet: for LSE-D, LSE-C and the offset of mouth and audio.",
                ),
                io.Audio.Input(
                    "other_voice",
                    optional=True,
                    tooltip="Speech of another person: does the mouth follow a voice it was not trained on?",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plots", tooltip="The report as one picture."),
                io.String.Output(display_name="summary", tooltip="The verdicts in words, and the path of the page."),
                io.String.Output(display_name="json", tooltip="All figures as JSON."),
            ],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None) -> bool | str:
        wording.required(lambda: folders.weights(folders.LPIPS, folders.SPEECH, *folders.FACE))
        return wording.checked(lambda: folders.check_prefix(filename_prefix or "udh"))

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        filename_prefix: str,
        syncnet: Trained | None = None,
        other_voice: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        voice = None if other_voice is None else media.sound_file(other_voice, "Sync Report")
        out, subfolder = folders.next_output(filename_prefix, suffix=".html")
        found = reopened(avatar)
        checkpoints = [trained.path for trained in (generator, syncnet) if trained]
        with for_inference(generator.info.encoder, *checkpoints) as device:
            report = worker.run_job(_report(found, generator, syncnet, voice, out, device), STAGES)
        made.note(out)
        display.say(f"{report.headline}\n[[open the page|{folders.view_url(out, subfolder)}]]")
        plots = media.image_of(report.plots)
        shown = {**ui.PreviewImage(plots, cls=cls).as_dict(), "text": (report.summary,)}
        return io.NodeOutput(plots, report.summary, report.figures, ui=shown)


@job
def _report(
    avatar: Avatar, generator: Trained, syncnet: Trained | None, voice: Path | None, out: Path, device: str
) -> Generator[Progress, None, Report]:
    """Evaluate, and write the page `out`."""
    models = folders.weights(folders.LPIPS, folders.SPEECH, *folders.FACE, *weight_files(generator.info.encoder))
    scorer = open_syncnet(syncnet.path, device) if syncnet else None
    evaluation = yield from evaluate(
        avatar, generator.path, syncnet=scorer, voice=voice, models=models, device=device
    ).steps()
    yield Progress("report", 0)
    title = f"{generator.path.stem}: evaluation of {avatar.root.name}"
    write_html(out, title, evaluation, syncnet=syncnet.info if syncnet else None, sound=avatar.audio)
    return Report(
        _headline(evaluation),
        draw_evaluation(title, evaluation),
        _text(evaluation, out),
        strict_json(evaluation.to_dict()),
    )


def _headline(evaluation: Evaluation) -> str:
    found = verdicts(evaluation)
    faults = [verdict.line() for grade in ("poor", "fair") for verdict in found if verdict.grade == grade]
    return "\n".join([summary(found), *faults[:MOST_FAULTS]])


def _text(evaluation: Evaluation, page: Path) -> str:
    """How many verdicts of each kind, the path of the page, and the verdicts, one a line."""
    found = verdicts(evaluation)
    return "\n".join([summary(found), f"report: {page}", *[verdict.line() for verdict in found]])
