"""The command line `udh`, thin over the core. Exit codes: 0 done, 2 the input is at fault, 1 ours, 130 interrupted."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from . import published_commands
from .avatar import describe_ranges, lost_ranges, open_avatar
from .errors import MediaError, UdhError
from .files import replacing
from .prepare import PrepareOptions, prepare
from .weights import WEIGHTS, fetch, models_dir

T = TypeVar("T")


class ExitCodes(TyperGroup):
    """Turns our own errors into one line and exit code 2, an interruption into 130."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().invoke(ctx)  # pyright: ignore[reportArgumentType]
        except UdhError as error:
            errors.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            errors.print("interrupted; run it again to continue (training: with --resume)", style="yellow")
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=ExitCodes, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

AvatarDir = Annotated[Path, typer.Option("--avatar", help="Folder of the prepared avatar.")]


def usable_device(name: str) -> str:
    """The device's name; a usage error when torch cannot compute there."""
    if name != "cpu":
        import torch

        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            raise typer.BadParameter(
                f"torch cannot compute on {name} here; use cpu, or install torch for it"
            ) from error
    return name


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …", callback=usable_device)]
Encoder = Annotated[str, typer.Option(help="whisper-tiny, mel80, hubert, hubert:FOLDER or wenet:FILE.")]


class Longer(str, Enum):
    """What to do with the picture when the audio is longer."""

    bounce = "bounce"
    loop = "loop"
    hold = "hold"


class Shorter(str, Enum):
    """What to do with the picture when the audio is shorter."""

    cut = "cut"
    keep = "keep"


def show(items: Iterable[T], describe: Callable[[T], tuple[str, float, float, str]]) -> T | None:
    """Pull an iterator to its end with one bar per stage; returns the last item."""
    last: T | None = None
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[remark]}"), console=console) as progress:
        task: TaskID | None = None
        current = ""
        for last in items:
            name, done, total, remark = describe(last)
            if name != current:
                _complete(progress, task)
                task, current = progress.add_task(name, total=total, remark=remark), name
            if task is not None:
                progress.update(task, completed=done, total=total, remark=remark)
        _complete(progress, task)
    return last


def _complete(progress: Progress, task: TaskID | None) -> None:
    if task is not None:
        progress.update(task, completed=progress.tasks[task].total)


@app.command("prepare")
def prepare_command(
    video: Path,
    avatar: AvatarDir,
    audio: Annotated[
        Path | None, typer.Option(help="Speech that belongs to the video, instead of its own sound.")
    ] = None,
    size: Annotated[int, typer.Option(help="Crop size: 160, 256, 320 or 512 px.")] = PrepareOptions.crop_size,
    encoder: Encoder = PrepareOptions.encoder,
    start: Annotated[float, typer.Option(help="Leave out this many seconds at the start.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="Take this many seconds.")] = None,
    face_index: Annotated[int, typer.Option(help="Which face: 0 = the largest and most central.")] = 0,
    face_at: Annotated[tuple[float, float] | None, typer.Option(help="Take the face nearest to x y (px).")] = None,
    max_gap: Annotated[
        float, typer.Option(help="Longest stretch without a face to bridge, s.")
    ] = PrepareOptions.max_gap_s,
    skip_lost: Annotated[bool, typer.Option("--skip-lost", help="Leave longer faceless stretches out.")] = False,
    device: Device = "cpu",
) -> None:
    """Turn a clip of a talking person into an avatar folder; run again to continue."""
    options = PrepareOptions(size, encoder, start, duration, face_index, face_at, max_gap, skip_lost)
    show(prepare(video, avatar, options, audio=audio, device=device), lambda p: (p.stage, p.done, p.total, ""))
    made = open_avatar(avatar)
    track, fps = made.track(), float(made.info.fps)
    lost = lost_ranges(track.landmarks)
    console.print(
        f"{avatar}: {made.info.frame_count} frames of {made.info.width}×{made.info.height} at {fps:g} fps, "
        f"{int(track.valid.sum())} with a face, {int(track.shot_starts.sum())} shots"
        + (f"; no face at {describe_ranges(lost, fps)}" if lost else "")
    )


@app.command("train-syncnet")
def train_syncnet_command(
    avatar: AvatarDir,
    out: Annotated[Path, typer.Option(help="Where the SyncNet goes (.safetensors).")],
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    encoder: Encoder = PrepareOptions.encoder,
    seed: int = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the resume state beside the file.")] = False,
    device: Device = "cpu",
) -> None:
    """Train the SyncNet, the judge of lip-sync."""
    from .train_syncnet import SyncNetOptions, train_syncnet

    options = SyncNetOptions(steps or SyncNetOptions.steps, minutes, seed=seed)
    _train(train_syncnet(open_avatar(avatar), out, options, encoder=encoder, resume=resume, device=device), out)


@app.command("train")
def train_command(
    avatar: AvatarDir,
    out: Annotated[Path, typer.Option(help="Where the generator goes (.safetensors).")],
    syncnet: Annotated[Path | None, typer.Option(help="A SyncNet to listen to while training.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    motion_steps: Annotated[int | None, typer.Option(help="Updates of each motion network.")] = None,
    encoder: Encoder = PrepareOptions.encoder,
    seed: int = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the resume state beside the file.")] = False,
    device: Device = "cpu",
) -> None:
    """Train the generator: the model of this person's mouth."""
    from .checkpoint import check_match
    from .judge import open_syncnet
    from .train_generator import GeneratorOptions, train_generator

    opened = open_avatar(avatar)
    judge = open_syncnet(syncnet, device) if syncnet else None
    if judge is not None:
        check_match(judge.info, crop=opened.crop, encoder=encoder)
    motion = motion_steps or GeneratorOptions.motion_steps
    options = GeneratorOptions(steps or GeneratorOptions.steps, minutes, seed=seed, motion_steps=motion)
    _train(train_generator(opened, out, options, encoder=encoder, syncnet=judge, resume=resume, device=device), out)


def _train(reports: Iterator, out: Path) -> None:
    def describe(report) -> tuple[str, float, float, str]:  # noqa: ANN001 (a StepReport; importing it loads torch)
        losses = ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
        return f"train {report.phase}", report.done, 1.0, f"step {report.step}, {losses}, {report.rate:.0f}/s"

    last = show(reports, describe)
    figures = ", ".join(f"{name} {value:.4f}" for name, value in last.metrics.items()) if last is not None else ""
    console.print(f"{out} is ready" + (f" ({figures})" if figures else ""))


@app.command("render")
def render_command(
    avatar: AvatarDir,
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    text: Annotated[str | None, typer.Option(help="English text to speak instead (needs hibari-tts).")] = None,
    when_audio_longer: Longer = Longer.bounce,
    when_audio_shorter: Shorter = Shorter.cut,
    device: Device = "cpu",
) -> None:
    """Make the person say it."""
    from .audio import write_wave
    from .render import RenderOptions, render
    from .speech import speak

    if (audio is None) == (text is None):
        raise MediaError("give either --audio or --text")
    options = RenderOptions(when_audio_longer.value, when_audio_shorter.value)
    opened = open_avatar(avatar)
    with tempfile.TemporaryDirectory() as scratch:
        if audio is None:
            audio = Path(scratch) / "speech.wav"
            write_wave(audio, speak(text or ""))
        steps = render(opened, generator, audio, out, options, device=device)
        show(steps, lambda p: (f"render: {p.stage}", p.done, p.total, f"{p.rate:.1f} frames/s" if p.rate else ""))
    console.print(f"{out} is ready")


@app.command("evaluate")
def evaluate_command(
    avatar: AvatarDir,
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    syncnet: Annotated[Path | None, typer.Option(help="A SyncNet to judge real and generated mouths.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    device: Device = "cpu",
) -> None:
    """Judge a generator on the held-out part of its clip."""
    from .evaluate import Evaluation, evaluate
    from .judge import open_syncnet

    judge = open_syncnet(syncnet, device) if syncnet else None
    steps = evaluate(open_avatar(avatar), generator, syncnet=judge, device=device)
    result = show(
        steps,
        lambda p: ("evaluate", 1, 1, "") if isinstance(p, Evaluation) else (f"evaluate: {p.row}", p.done, p.total, ""),
    )
    if not isinstance(result, Evaluation):
        raise RuntimeError("the evaluation ended without a result")
    _print_evaluation(result)
    if json_out is not None:
        with replacing(json_out) as temporary:
            temporary.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")


def _print_evaluation(result) -> None:  # noqa: ANN001 (an Evaluation; importing it loads torch)
    names = list(dict.fromkeys(name for figures in result.rows.values() for name in figures))
    table = Table("held-out frames driven by", *[name.replace("_", " ") for name in names])
    for row, figures in result.rows.items():
        table.add_row(row, *[f"{figures[name]:.3f}" if name in figures else "–" for name in names])
    console.print(table)


@app.command("demo")
def demo_command(
    video: Annotated[Path | None, typer.Option(help="Your clip; without it a talking person is made.")] = None,
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    minutes: Annotated[float, typer.Option(help="How long the generator trains.")] = 5.0,
    size: Annotated[int | None, typer.Option(help="Crop size; 160 for the made person, 256 for your clip.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """The whole chain in one go."""
    from .demo import DemoOptions, Result, Stage, run_demo

    for _ in show_lines(fetch()):
        pass
    crop_size = size or (160 if video is None else 256)
    options = DemoOptions(folder, video, audio, minutes, crop_size=crop_size, seed=seed)

    def describe(stage: Stage | Result) -> tuple[str, float, float, str]:
        if isinstance(stage, Result):
            return "report", 1, 1, ""
        return stage.name, stage.done, stage.total, stage.remark

    result = show(run_demo(options, device=device), describe)
    if not isinstance(result, Result):
        raise RuntimeError("the demo ended without a result")
    _print_evaluation(result.evaluation)
    console.print(f"talking video: {result.video.resolve()}\nreport:        {result.report.resolve()}", soft_wrap=True)


def show_lines(lines: Iterable[str]) -> Iterator[str]:
    """Print lines as they come."""
    for line in lines:
        console.print(line, soft_wrap=True)
        yield line


weights_app = typer.Typer(no_args_is_help=True, help="The weight files this program uses.")
app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def weights_list() -> None:
    """Name, size, licence and source of every weight file."""
    table = Table("file", "MB", "licence", "source", "here")
    for weight in WEIGHTS.values():
        here = (models_dir() / weight.name).is_file()
        table.add_row(weight.name, f"{weight.size / 1e6:.1f}", weight.licence, weight.source, "yes" if here else "no")
    console.print(table)
    console.print(f"folder: {models_dir()}", soft_wrap=True)


@weights_app.command("fetch")
def weights_fetch() -> None:
    """Fetch and verify what is missing."""
    for _ in show_lines(fetch()):
        pass


published_commands.add_to(app)


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app()
