"""Nodes that train: an avatar and its audio features → a SyncNet, a generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar, check_features
from ..udh_core.evaluation.pictures import draw_training
from ..udh_core.inference.sync_scorer import SyncScorer, open_syncnet
from ..udh_core.models.checkpoint import Kind, check_match
from ..udh_core.speech import features as feature_files
from ..udh_core.speech.encoders import weight_files
from ..udh_core.training.generator import train_generator
from ..udh_core.training.options import GeneratorOptions, ModelSize, SyncNetOptions
from ..udh_core.training.run_log import RunLog, Start, open_log
from ..udh_core.training.syncnet import train_syncnet
from .host import display, folders, media, wording, worker
from .types import (
    AVATAR,
    CATEGORY,
    FEATURES,
    GENERATOR,
    LOSS_MAP,
    SYNCNET,
    Features,
    Trained,
    given,
    open_trained,
    reopened,
    widget,
)

PREVIEW_STEPS = 100  # steps from one preview to the next
# Stages, and how long each takes in relation to the others
SYNCNET_STAGES = {"training data": 2.0, "syncnet": 98.0}
GENERATOR_STAGES = {"training data": 1.0, "statistics": 3.0, "augmented features": 6.0, "features of silence": 1.0}
GENERATOR_STAGES |= {"motion": 14.0, "warp": 75.0}


def _sources(kind: str) -> list[io.Input]:
    """What a training begins with, and the name of its result in the folder of this kind."""
    return [
        AVATAR.Input("avatar", tooltip="From Detect Landmarks or Load Avatar."),
        FEATURES.Input("features", tooltip="From Extract Audio Features, of the avatar's own audio."),
        io.String.Input(
            "name", default="", tooltip=f"Name of the result in models/udh/{kind}. Empty: that of the avatar."
        ),
    ]


def _resume() -> io.Input:
    return io.Boolean.Input(
        "resume",
        default=True,
        tooltip="On: go on where an earlier run with these settings stopped; a finished one is taken from disk. "
        "Off: start anew. What was trained before is kept under another name, never overwritten.",
    )


class TrainSyncNet(io.ComfyNode):
    """Avatar + features → a SyncNet, the lip-sync expert of this person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_TrainSyncNet",
            display_name="Train SyncNet",
            category=CATEGORY,
            description="Trains a network on this person that distinguishes in-sync from off-sync pairs of mouth and "
            "audio: it gives LSE-D and LSE-C in Sync Report, and can be a loss in Train Generator.",
            inputs=[
                *_sources("syncnets"),
                *(widget(SyncNetOptions, name) for name in ("minutes", "steps", "seed")),
                _resume(),
                SYNCNET.Input(
                    "init",
                    optional=True,
                    tooltip="From Load SyncNet: begin with its weights, e.g. of one trained on several people. Same "
                    "encoder.",
                ),
            ],
            outputs=[
                SYNCNET.Output("syncnet", tooltip="For Sync Report; for Train Generator, if you like."),
                LOSS_MAP.Output("loss", tooltip="Loss of every step, for Plot Loss Graph."),
                io.Image.Output(display_name="plot", tooltip="Loss and accuracy over the steps."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        wording.required(lambda: folders.weights(folders.SPEECH))
        return wording.checked(lambda: folders.safe_name(name or "", "person"))

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        features: Features,
        name: str,
        minutes: float,
        steps: int,
        seed: int,
        resume: bool,
        init: Trained | None = None,
    ) -> io.NodeOutput:
        found, encoder = _with_features(avatar, features)
        out = folders.new_path("syncnets", folders.safe_name(name, avatar.root.name), ".safetensors")
        options, first = SyncNetOptions(steps, given(minutes), seed=seed), init.path if init else None
        models = folders.weights(folders.SPEECH)
        with worker.alone_on_device(training=True) as device:
            run = train_syncnet(
                found, out, options, encoder=encoder, init=first, start=_start(resume), models=models, device=device
            )
            worker.run_job(run, SYNCNET_STAGES)
        trained, log = _finished(out, "syncnet")
        return io.NodeOutput(trained, {"loss": log.losses()}, _plot(log))


class TrainGenerator(io.ComfyNode):
    """Avatar + features → a generator, the model of this person's mouth."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_TrainGenerator",
            display_name="Train Generator",
            category=CATEGORY,
            description="Trains the model of this person's mouth: audio features → mouth shape → picture. The preview "
            "shows the covered input, the generated picture and the real one. Cancel at any time: Run goes on from "
            "there.",
            inputs=[
                *_sources("generators"),
                *(
                    widget(GeneratorOptions, name)
                    for name in ("minutes", "steps", "model_size", "batch", "motion_steps", "seed")
                ),
                _resume(),
                SYNCNET.Input(
                    "syncnet",
                    optional=True,
                    tooltip="From Train SyncNet or Load SyncNet: an additional loss late in training. Measured: "
                    "sharper and more reliably in sync with minutes of speech, worse on a one-minute clip.",
                ),
            ],
            outputs=[
                GENERATOR.Output("generator", tooltip="For Lip Sync Render."),
                LOSS_MAP.Output("loss", tooltip="Loss of every step, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="preview", tooltip="A held-out frame: source with the mouth covered, generated, real."
                ),
                io.Image.Output(display_name="plot", tooltip="Losses over the steps."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        wording.required(lambda: folders.weights(folders.LPIPS, folders.SPEECH))
        return wording.checked(lambda: folders.safe_name(name or "", "person"))

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        features: Features,
        name: str,
        minutes: float,
        steps: int,
        model_size: ModelSize,
        batch: int,
        motion_steps: int,
        seed: int,
        resume: bool,
        syncnet: Trained | None = None,
    ) -> io.NodeOutput:
        found, encoder = _with_features(avatar, features)
        out = folders.new_path("generators", folders.safe_name(name, avatar.root.name), ".safetensors")
        options = GeneratorOptions(
            steps, given(minutes), model_size, batch, seed=seed, motion_steps=motion_steps, check_every=PREVIEW_STEPS
        )
        models, start = folders.weights(folders.LPIPS, folders.SPEECH, *weight_files(encoder)), _start(resume)
        with worker.alone_on_device(training=True) as device:
            expert = _scorer(syncnet, encoder, device)
            run = train_generator(
                found, out, options, encoder=encoder, syncnet=expert, start=start, models=models, device=device
            )
            worker.run_job(run, GENERATOR_STAGES)
        trained, log = _finished(out, "generator")
        shown = ui.PreviewImage(_preview(log), cls=cls)
        return io.NodeOutput(trained, {"loss": log.losses()}, _preview(log), _plot(log), ui=shown)


def _with_features(avatar: Avatar, features: Features) -> tuple[Avatar, str]:
    """The avatar with these features of its audio in its folder, and their encoder."""
    found, encoder = reopened(avatar), features.values.encoder
    feature_files.copy(features.folder, found.root / "features", encoder)
    check_features(found, encoder)
    return found, encoder


def _finished(out: Path, kind: Kind) -> tuple[Trained, RunLog]:
    """What was trained, now or earlier, and how; the node says which step is kept and how good it is."""
    trained = open_trained(out, kind)
    figures = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in trained.info.metrics.items()]
    display.say(f"{out.stem}: step {trained.info.step}" + (f"\nheld out: {', '.join(figures)}" if figures else ""))
    return trained, open_log(out)


def _start(resume: bool) -> Start:
    return "auto" if resume else "set aside"


def _plot(log: RunLog) -> torch.Tensor:
    """The losses over the steps, as IMAGE."""
    return media.image_of(draw_training(log.reports))


def _preview(log: RunLog) -> torch.Tensor:
    """The last one, as IMAGE; black where there is none yet."""
    return media.image_of(log.preview if log.preview is not None else np.zeros((64, 192, 3), np.uint8))


def _scorer(syncnet: Trained | None, encoder: str, device: str) -> SyncScorer | None:
    """MismatchError where the SyncNet was trained with another encoder."""
    if syncnet is None:
        return None
    check_match(syncnet.info, encoder=encoder)
    return open_syncnet(syncnet.path, device)
