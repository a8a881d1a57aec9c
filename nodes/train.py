"""Training nodes: an avatar and its sound → a SyncNet, a generator."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from comfy_api.latest import io

from ..udh_core.avatar.folder import Avatar, check_features
from ..udh_core.evaluation.pictures import draw_training
from ..udh_core.inference.sync_scorer import SyncScorer, open_syncnet
from ..udh_core.models.checkpoint import check_match
from ..udh_core.speech import features as feature_files
from ..udh_core.speech.encoders import weight_files
from ..udh_core.training.generator import train_generator
from ..udh_core.training.options import GeneratorOptions, ModelSize, SyncNetOptions
from ..udh_core.training.run_log import RunLog, Start, open_log
from ..udh_core.training.syncnet import train_syncnet
from .host import folders, media, worker
from .types import AVATAR, CATEGORY, FEATURES, GENERATOR, LOSS_MAP, SYNCNET, Features, Trained, open_trained, reopened

PREVIEW_STEPS = 100  # steps from one preview to the next


def _common_inputs(what: str, steps: int) -> list[io.Input]:
    return [
        AVATAR.Input("avatar", tooltip="From Detect Landmarks or Load Avatar."),
        FEATURES.Input("features", tooltip="From Extract Audio Features, of the avatar's own sound."),
        io.String.Input(
            "name",
            default="",
            tooltip=f"What the {what} is called in models/udh/{what.lower()}s. Empty: like the avatar.",
        ),
        io.Float.Input(
            "minutes",
            default=0.0,
            min=0.0,
            max=10080.0,
            step=0.5,
            tooltip="Train this long, whatever the machine; 0 = train `steps` updates instead.",
        ),
        io.Int.Input(
            "steps",
            default=steps,
            min=2,
            max=1_000_000,
            tooltip="Updates to train, when `minutes` is 0. A larger number later goes on from here.",
        ),
    ]


def _last_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            control_after_generate=False,
            tooltip="The same seed gives the same training.",
        ),
        io.Boolean.Input(
            "resume",
            default=True,
            tooltip="On: go on where an earlier run with these settings stopped; a finished one is taken from disk. "
            "Off: start anew. What was trained before is kept under another name, never overwritten.",
        ),
    ]


class TrainSyncNet(io.ComfyNode):
    """The judge of lip-sync, learnt from the avatar itself."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_TrainSyncNet",
            display_name="Train SyncNet",
            category=CATEGORY,
            description="Learns to tell in-sync from off-sync: the judge in Sync Report. "
            "Train Generator can listen to it, too.",
            inputs=[
                *_common_inputs("SyncNet", SyncNetOptions.steps),
                *_last_inputs(),
                SYNCNET.Input(
                    "init",
                    optional=True,
                    tooltip="From Load SyncNet: start from this one, e.g. one of several people, instead of from "
                    "nothing. Same encoder.",
                ),
            ],
            outputs=[
                SYNCNET.Output("syncnet", tooltip="Goes into Sync Report, and into Train Generator if you like."),
                LOSS_MAP.Output("loss", tooltip="Loss of every step, for Plot Loss Graph."),
                io.Image.Output(display_name="plot", tooltip="Loss and accuracy over the steps."),
            ],
        )

    @classmethod
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
        found, encoder = _learnable(avatar, features)
        out = folders.new_path("syncnets", folders.safe_name(name, avatar.root.name), ".safetensors")
        options, first = SyncNetOptions(steps, minutes or None, seed=seed), init.path if init else None
        with worker.alone_on_device(training=True) as device:
            start = _start(resume)
            common = {"encoder": encoder, "start": start, "models": folders.weights(folders.SPEECH), "device": device}
            run = train_syncnet(found, out, options, init=first, **common)
            worker.run_job(run)
        log = open_log(out)
        return io.NodeOutput(open_trained(out, "syncnet"), {"loss": log.losses()}, _plot(log))


class TrainGenerator(io.ComfyNode):
    """The model of a person's mouth."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        first, rest = _common_inputs("generator", GeneratorOptions.steps), _last_inputs()
        return io.Schema(
            node_id="UDH_TrainGenerator",
            display_name="Train Generator",
            category=CATEGORY,
            description="Learns how this person's mouth moves and looks. The preview shows what the network gets, "
            "what it makes of it, and the real mouth. Cancel at any time: Run goes on from there.",
            inputs=[
                *first,
                io.Combo.Input(
                    "model_size",
                    options=list(get_args(ModelSize)),
                    default=GeneratorOptions.model_size,
                    tooltip="Of the network: standard for best pictures, small for slow machines. The picture size "
                    "is the avatar's crop size.",
                ),
                io.Int.Input(
                    "batch",
                    default=GeneratorOptions.batch,
                    min=2,
                    max=256,
                    tooltip="Pictures per update; lower it when the GPU runs out of memory.",
                ),
                io.Int.Input(
                    "motion_steps",
                    default=GeneratorOptions.motion_steps,
                    min=2,
                    max=100_000,
                    tooltip="Updates of each motion network, when `minutes` is 0; a minute or so on any machine.",
                ),
                *rest,
                SYNCNET.Input(
                    "syncnet",
                    optional=True,
                    tooltip="From Train SyncNet or Load SyncNet: an extra loss late in training. Measured: sharper and "
                    "surer sync with minutes of speech, worse on a one-minute clip.",
                ),
            ],
            outputs=[
                GENERATOR.Output("generator", tooltip="Goes into Lip Sync Render."),
                LOSS_MAP.Output("loss", tooltip="Loss of every step, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="preview", tooltip="A held-out frame: source with the mouth covered, generated, real."
                ),
                io.Image.Output(display_name="plot", tooltip="Losses over the steps."),
            ],
        )

    @classmethod
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
        found, encoder = _learnable(avatar, features)
        out = folders.new_path("generators", folders.safe_name(name, avatar.root.name), ".safetensors")
        options = GeneratorOptions(
            steps, minutes or None, model_size, batch, seed=seed, motion_steps=motion_steps, check_every=PREVIEW_STEPS
        )
        with worker.alone_on_device(training=True) as device:
            models = folders.weights(folders.LPIPS, folders.SPEECH, *weight_files(encoder))
            common = {"encoder": encoder, "start": _start(resume), "models": models, "device": device}
            run = train_generator(found, out, options, syncnet=_judge(syncnet, encoder, device), **common)
            worker.run_job(run)
        log = open_log(out)
        return io.NodeOutput(open_trained(out, "generator"), {"loss": log.losses()}, _preview(log), _plot(log))


def _learnable(avatar: Avatar, features: Features) -> tuple[Avatar, str]:
    """The avatar with these features of its sound in its folder, and their encoder."""
    found, encoder = reopened(avatar), features.values.encoder
    feature_files.copy(features.folder, found.root / "features", encoder)
    check_features(found, encoder)
    return found, encoder


def _start(resume: bool) -> Start:
    return "auto" if resume else "set aside"


def _plot(log: RunLog) -> torch.Tensor:
    """The losses over the steps."""
    return media.image_of(draw_training(log.reports))


def _preview(log: RunLog) -> torch.Tensor:
    """The last one; black when there was none yet."""
    return media.image_of(log.preview if log.preview is not None else np.zeros((64, 192, 3), np.uint8))


def _judge(syncnet: Trained | None, encoder: str, device: str) -> SyncScorer | None:
    if syncnet is None:
        return None
    check_match(syncnet.info, encoder=encoder)
    return open_syncnet(syncnet.path, device)
