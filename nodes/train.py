"""Nodes that train: an avatar and its audio features → a SyncNet, a generator."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.avatar.prepare import add_features
from ..udh_core.errors import MismatchError
from ..udh_core.evaluation.pictures import draw_training
from ..udh_core.inference.sync_scorer import SyncScorer, open_syncnet
from ..udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from ..udh_core.media.compare import is_same_sound
from ..udh_core.models.checkpoint import Checkpoint, Kind, check_match
from ..udh_core.progress import Job, Progress, job
from ..udh_core.speech.encoders import weight_files
from ..udh_core.speech.voice import load_voice
from ..udh_core.training.generator import train_generator
from ..udh_core.training.options import DrawnFrom, GeneratorOptions, ModelSize, SyncNetOptions
from ..udh_core.training.run_log import RunLog, Start, is_finished, open_log
from ..udh_core.training.syncnet import train_syncnet
from . import names
from .host import display, folders, made, media, wording, worker
from .host.device import for_inference, for_training
from .types import (
    AVATAR,
    CATEGORY,
    FEATURES,
    GENERATOR,
    LOSS_MAP,
    SYNCNET,
    Features,
    MakesFiles,
    Trained,
    given,
    open_trained,
    reopened,
    widget,
)

PREVIEW_STEPS = 100  # steps from one preview to the next
GENERATOR_MINUTES, SYNCNET_MINUTES = (
    15.0,
    4.0,
)  # unless a graph says otherwise: a number of steps may take hours on a CPU
# Stages, and how long each takes in relation to the others
SYNCNET_STAGES = {"features": 2.0, "training data": 2.0, "syncnet": 98.0}
GENERATOR_STAGES = {
    "features": 1.0,
    "training data": 1.0,
    "statistics": 3.0,
    "augmented features": 6.0,
    "features of silence": 1.0,
}
GENERATOR_STAGES |= {"features of silence": 1.0, "motion": 14.0, "warp": 75.0}


def _sources(kind: str) -> list[io.Input]:
    """What a training begins with, and the name of its result in the folder of this kind."""
    return [
        AVATAR.Input("avatar", tooltip="From Detect Landmarks or Load Avatar."),
        io.String.Input(
            "name",
            default="",
            tooltip=f"Name of the result in models/udh/{kind}. Empty: that of the avatar. A name that another avatar's "
            "training has gets a number.",
        ),
    ]


def _features(other: str) -> io.Input:
    """Whose encoder is trained with; `other`: the SyncNet whose encoder is taken without it."""
    return FEATURES.Input(
        "features",
        optional=True,
        tooltip="Only to train with another encoder: from Extract Audio Features, of the avatar's own audio. Without "
        f"it the avatar's audio is encoded here, as for {other}, or else with {PrepareOptions.encoder}.",
    )


def _resume() -> io.Input:
    return io.Boolean.Input(
        "resume",
        default=True,
        tooltip="On: go on where an earlier run with these settings stopped; a finished one is taken from disk. "
        "Off: start anew. What was trained before is kept under another name, never overwritten.",
    )


class TrainSyncNet(MakesFiles):
    """Avatar + features → a SyncNet, the lip-sync expert of this person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_TrainSyncNet",
            display_name="Train SyncNet",
            category=CATEGORY,
            description="Trains a network on this person that distinguishes in-sync from off-sync pairs of mouth and "
            "audio: it gives LSE-D and LSE-C in Sync Report, and can be a loss in Train Generator.",
            search_aliases=["lip sync expert", "wav2lip", "train sync"],
            inputs=[
                *_sources("syncnets"),
                widget(SyncNetOptions, "minutes", default=SYNCNET_MINUTES),
                *(widget(SyncNetOptions, name) for name in ("steps", "seed")),
                _resume(),
                _features("the SyncNet at init"),
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
        name: str,
        minutes: float,
        steps: int,
        seed: int,
        resume: bool,
        features: Features | None = None,
        init: Trained | None = None,
    ) -> io.NodeOutput:
        found, encoder = _source(avatar, features, init)
        out = names.of_checkpoint("syncnets", name, found)
        options, first = SyncNetOptions(steps, given(minutes), seed=seed), init.path if init else None
        models, start = folders.weights(folders.SPEECH, *weight_files(encoder)), _start(resume)
        with _device(out, options, encoder, resume) as device:
            run = train_syncnet(
                found, out, options, encoder=encoder, init=first, start=start, models=models, device=device
            )
            worker.run_job(_with_features(found, encoder, run, models, device), SYNCNET_STAGES)
        trained, log = _finished(out, "syncnet")
        return io.NodeOutput(trained, {"loss": log.losses()}, _plot(log))


class TrainGenerator(MakesFiles):
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
            search_aliases=["train face", "train person", "lip sync", "wav2lip", "digital human"],
            inputs=[
                *_sources("generators"),
                widget(GeneratorOptions, "minutes", default=GENERATOR_MINUTES),
                *(widget(GeneratorOptions, name) for name in ("steps", "model_size", "batch", "motion_steps", "seed")),
                _resume(),
                _features("the SyncNet"),
                SYNCNET.Input(
                    "syncnet",
                    optional=True,
                    tooltip="From Train SyncNet or Load SyncNet: an additional loss late in training. Measured: "
                    "sharper and more reliably in sync with minutes of speech, worse on a one-minute clip.",
                ),
                widget(GeneratorOptions, "drawn_from", optional=True),
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
        name: str,
        minutes: float,
        steps: int,
        model_size: ModelSize,
        batch: int,
        motion_steps: int,
        seed: int,
        resume: bool,
        features: Features | None = None,
        syncnet: Trained | None = None,
        drawn_from: DrawnFrom = GeneratorOptions.drawn_from,
    ) -> io.NodeOutput:
        found, encoder = _source(avatar, features, syncnet)
        out = names.of_checkpoint("generators", name, found)
        options = GeneratorOptions(steps, given(minutes), model_size, batch, seed=seed, motion_steps=motion_steps)
        options = replace(options, drawn_from=drawn_from, check_every=PREVIEW_STEPS)
        models, start = folders.weights(folders.LPIPS, folders.SPEECH, *weight_files(encoder)), _start(resume)
        with _device(out, options, encoder, resume) as device:
            expert = _scorer(syncnet, encoder, device)
            run = train_generator(
                found, out, options, encoder=encoder, syncnet=expert, start=start, models=models, device=device
            )
            worker.run_job(_with_features(found, encoder, run, models, device), GENERATOR_STAGES)
        trained, log = _finished(out, "generator")
        shown = ui.PreviewImage(_preview(log), cls=cls)
        return io.NodeOutput(trained, {"loss": log.losses()}, _preview(log), _plot(log), ui=shown)


def _source(avatar: Avatar, features: Features | None, syncnet: Trained | None) -> tuple[Avatar, str]:
    """The avatar, and the encoder to train with: of the features, which have to be of its own sound; or of the SyncNet;
    or the default.
    """
    found = reopened(avatar)
    if features is None:
        return found, syncnet.info.encoder if syncnet else PrepareOptions.encoder
    _check_own(features, found)
    return found, features.values.encoder


@job
def _with_features(
    avatar: Avatar, encoder: str, training: Job[Checkpoint], models: Path, device: str
) -> Generator[Progress, None, Checkpoint]:
    """A training, after the features of the avatar's own sound that it takes."""
    yield from add_features(avatar.root, encoder, models=models, device=device).steps()
    return (yield from training.steps())


def _check_own(features: Features, avatar: Avatar) -> None:
    """MismatchError naming both sounds where features are not of the avatar's own."""
    theirs = load_voice(features.sound, models=folders.weights(folders.SPEECH)).waveform
    own = load_waveform(avatar.audio)
    if not is_same_sound(theirs, own):
        seconds = [len(sound) / SAMPLE_RATE_HZ for sound in (theirs, own)]
        raise MismatchError(
            f"the features are of another sound ({features.sound.name}, {seconds[0]:.1f} s) than that of the avatar "
            f"{avatar.root.name} ({avatar.audio.name}, {seconds[1]:.1f} s); leave `features` unconnected, or give that "
            "sound to Load Avatar Video if it belongs to the clip"
        )


def _finished(out: Path, kind: Kind) -> tuple[Trained, RunLog]:
    """What was trained, now or earlier, and how; the node says which step is kept and how good it is."""
    made.note_state(out)
    trained = open_trained(out, kind)
    figures = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in trained.info.metrics.items()]
    display.say(f"{out.stem}: step {trained.info.step}" + (f"\nheld out: {', '.join(figures)}" if figures else ""))
    return trained, open_log(out)


def _device(
    out: Path, options: GeneratorOptions | SyncNetOptions, encoder: str, resume: bool
) -> AbstractContextManager[str]:
    """The device, all of it where something is to be trained: what is finished only comes from disk."""
    return for_inference(encoder) if resume and is_finished(out, options, encoder) else for_training()


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
