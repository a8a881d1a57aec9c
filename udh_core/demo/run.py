"""The whole chain in one go: prepare, SyncNet, generator, render, evaluate, report."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..avatar.folder import Avatar
from ..avatar.options import PrepareOptions
from ..avatar.prepare import prepare
from ..errors import FileError
from ..evaluation.evaluate import evaluate
from ..evaluation.figures import strict_json
from ..evaluation.html import write_html
from ..evaluation.result import Evaluation
from ..files import atomic_write, exclusive_lock
from ..inference.sync_scorer import open_syncnet
from ..media.audio import write_wave
from ..models import checkpoint
from ..progress import Job, Progress, job
from ..rendering.render import render
from ..speech.tts import speak
from ..training.generator import train_generator
from ..training.loop import StepReport
from ..training.options import GeneratorOptions, SyncNetOptions
from ..training.run_log import open_log
from ..training.syncnet import train_syncnet
from .clip import VIDEO_NAME, make_clip
from .options import DemoOptions
from .sentences import NEW_SPEECH

SYNCNET_SHARE = 0.25  # of the generator's minutes
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What the demo made."""

    video: Path
    page: Path  # HTML
    figures: Path
    evaluation: Evaluation


@job
def run_demo(
    options: DemoOptions, *, models: Path | None = None, device: str = "cpu"
) -> Generator[Progress, None, Result]:
    """Run the whole chain. A second run goes on where the first one stopped.

    Raises OptionError, FileError while another run works in the folder, or what the parts raise: MediaError,
    NoFaceError, WeightsError and the other UdhErrors.
    """
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {options.folder}: {error.strerror}; choose another place") from error
    with exclusive_lock(options.folder):
        return (yield from _run(options, models, device))


def _run(options: DemoOptions, models: Path | None, device: str) -> Generator[Progress, None, Result]:
    folder = options.folder
    if options.video is None:
        yield from _make_person(folder / "clip", options)
    video = options.video or folder / "clip" / VIDEO_NAME
    audio = options.audio or _new_speech(folder / "new_speech.wav")
    choice = PrepareOptions(crop_px=options.crop_size(), encoder=options.encoder)
    avatar = yield from _within("prepare", prepare(video, folder / "avatar", choice, models=models, device=device))
    syncnet, generator = folder / "syncnet.safetensors", folder / "generator.safetensors"
    yield from _train(avatar, syncnet, generator, options, models, device)
    rendering = render(avatar, generator, audio, folder / "talking.mp4", models=models, device=device)
    out = yield from _within("render", rendering)
    scorer = open_syncnet(syncnet, device)
    evaluating = evaluate(avatar, generator, syncnet=scorer, models=models, device=device)
    evaluation = yield from _within("evaluate", evaluating)
    steps = [*open_log(syncnet).reports, *open_log(generator).reports]
    return _write_results(out, video, avatar.audio, steps, evaluation, scorer.info)


def _within(stage: str, part: Job[T]) -> Generator[Progress, None, T]:
    """Do a job as a part of this one, its stages named after the part; closing this one closes it."""
    with closing(part):
        for step in part:
            yield replace(step, stage=f"{stage}: {step.stage}")
    return part.result


def _train(
    avatar: Avatar, syncnet: Path, generator: Path, options: DemoOptions, models: Path | None, device: str
) -> Generator[Progress, None, None]:
    sync_options = SyncNetOptions(minutes=options.minutes * SYNCNET_SHARE, seed=options.seed)
    for step in train_syncnet(
        avatar, syncnet, sync_options, encoder=options.encoder, start="auto", models=models, device=device
    ):
        yield replace(step, stage=f"train SyncNet: {step.stage}")
    generator_options = GeneratorOptions(minutes=options.minutes, seed=options.seed)
    for step in train_generator(
        avatar, generator, generator_options, encoder=options.encoder, start="auto", models=models, device=device
    ):
        yield replace(step, stage=f"train generator: {step.stage}")


def _make_person(folder: Path, options: DemoOptions) -> Generator[Progress, None, None]:
    """The clip of the built-in person, unless it is there already."""
    stamp = folder / "made.json"
    wanted: dict[str, Any] = {"seconds": options.clip_seconds, "seed": options.seed}
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted:
        return
    yield from make_clip(folder, seconds=options.clip_seconds, seed=options.seed).steps()
    with atomic_write(stamp) as temporary:
        temporary.write_text(json.dumps(wanted), encoding="utf-8")


def _new_speech(path: Path) -> Path:
    write_wave(path, speak(" ".join(NEW_SPEECH[:5])))
    return path


def _write_results(
    out: Path,
    video: Path,
    sound: Path,
    steps: list[StepReport],
    evaluation: Evaluation,
    syncnet: checkpoint.Checkpoint,
) -> Result:
    page, figures = out.with_name("report.html"), out.with_name("evaluation.json")
    title = f"{video.name}: trained and evaluated"
    write_html(page, title, evaluation, steps=steps, syncnet=syncnet, sound=sound)
    with atomic_write(figures) as temporary:
        temporary.write_text(strict_json(evaluation.to_dict()), encoding="utf-8")
    return Result(out, page, figures, evaluation)
