"""The whole chain in one go: prepare, SyncNet, generator, render, evaluate, report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..avatar.folder import open_avatar
from ..avatar.prepare import PrepareOptions, prepare
from ..errors import OptionError
from ..evaluation.evaluate import evaluate
from ..evaluation.figures import strict_json
from ..evaluation.html import write_html
from ..evaluation.result import Evaluation
from ..files import atomic_write
from ..inference.sync_scorer import open_syncnet
from ..media.audio import write_wave
from ..models import checkpoint
from ..rendering.render import render
from ..speech.tts import speak
from ..training.generator import GeneratorOptions, train_generator
from ..training.loop import StepReport
from ..training.run_log import open_log
from ..training.syncnet import SyncNetOptions, train_syncnet
from .clip import VIDEO_NAME, make_clip
from .sentences import NEW_SPEECH

SYNCNET_SHARE = 0.25  # of the generator's minutes


@dataclass(frozen=True)
class DemoOptions:
    """What the demo makes and how long it trains. Without a video it makes its own talking person."""

    folder: Path = Path("demo")
    video: Path | None = None
    audio: Path | None = None
    minutes: float = 5.0
    clip_seconds: float = 90.0
    crop_size: int = 160
    encoder: str = "whisper-tiny"
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.video is None) != (self.audio is None) and self.video is not None:
            raise OptionError("give the new speech too: --video and --audio belong together")
        if self.minutes <= 0:
            raise OptionError("minutes must be more than 0")


class Stage(NamedTuple):
    """How far the demo is: `done` of `total` in the stage of that name, and a remark."""

    name: str
    done: float
    total: float
    remark: str = ""


class Result(NamedTuple):
    """What the demo made."""

    video: Path
    page: Path  # HTML
    figures: Path
    evaluation: Evaluation


def run_demo(options: DemoOptions, *, models: Path | None = None, device: str = "cpu") -> Iterator[Stage | Result]:
    """Run the chain; the last item is the Result. A second run goes on where the first one stopped."""
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    video = options.video or folder / "clip" / VIDEO_NAME
    if options.video is None:
        yield from _make_person(folder / "clip", options)
    audio = options.audio or _new_speech(folder / "new_speech.wav")
    choice = PrepareOptions(crop_size=options.crop_size, encoder=options.encoder)
    for step in prepare(video, folder / "avatar", choice, models=models, device=device):
        yield Stage(f"prepare: {step.stage}", step.done, step.total)
    avatar = open_avatar(folder / "avatar")
    syncnet, generator = folder / "syncnet.safetensors", folder / "generator.safetensors"
    minutes = options.minutes
    sync_options = SyncNetOptions(minutes=minutes * SYNCNET_SHARE, seed=options.seed)
    for report in train_syncnet(
        avatar, syncnet, sync_options, encoder=options.encoder, start="auto", models=models, device=device
    ):
        yield _training_stage("train SyncNet", report)
    generator_options = GeneratorOptions(minutes=minutes, seed=options.seed)
    for report in train_generator(
        avatar, generator, generator_options, encoder=options.encoder, start="auto", models=models, device=device
    ):
        yield _training_stage(f"train generator: {report.phase}", report)
    out = folder / "talking.mp4"
    for step in render(avatar, generator, audio, out, models=models, device=device):
        yield Stage(f"render: {step.stage}", step.done, step.total, step.detail)
    evaluation: Evaluation | None = None
    judge = open_syncnet(syncnet, device)
    for step in evaluate(avatar, generator, syncnet=judge, models=models, device=device):
        if isinstance(step, Evaluation):
            evaluation = step
        else:
            yield Stage(f"evaluate: {step.row}", step.done, step.total)
    if evaluation is None:
        raise RuntimeError("the evaluation ended without a result")
    steps = [*open_log(syncnet).reports, *open_log(generator).reports]
    yield _write_results(out, video, avatar.audio, steps, evaluation, judge.info)


def _make_person(folder: Path, options: DemoOptions) -> Iterator[Stage]:
    stamp = folder / "made.json"
    wanted: dict[str, Any] = {"seconds": options.clip_seconds, "seed": options.seed}
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted:
        return
    folder.mkdir(exist_ok=True)
    for done in make_clip(folder, seconds=options.clip_seconds, seed=options.seed):
        yield Stage("make a talking person", done, 1.0)
    with atomic_write(stamp) as temporary:
        temporary.write_text(json.dumps(wanted), encoding="utf-8")


def _new_speech(path: Path) -> Path:
    write_wave(path, speak(" ".join(NEW_SPEECH[:5])))
    return path


def _training_stage(name: str, report: StepReport) -> Stage:
    losses = ", ".join(f"{key} {value:.3f}" for key, value in report.losses.items())
    rate = f", {report.rate:.0f} samples/s" if report.rate else ""
    return Stage(name, report.done, 1.0, losses + rate)


def _write_results(
    out: Path,
    video: Path,
    sound: Path,
    steps: list[StepReport],
    evaluation: Evaluation,
    syncnet: checkpoint.Checkpoint,
) -> Result:
    page, figures = out.with_name("report.html"), out.with_name("evaluation.json")
    title = f"{video.name}: learnt and judged"
    write_html(page, title, evaluation, steps=steps, syncnet=syncnet, sound=sound)
    with atomic_write(figures) as temporary:
        temporary.write_text(strict_json(evaluation.to_dict()), encoding="utf-8")
    return Result(out, page, figures, evaluation)
