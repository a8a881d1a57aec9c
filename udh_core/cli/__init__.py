"""The command line `udh`, thin over the core. Exit codes: 0 done, 2 the input is at fault, 1 ours, 130 interrupted."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table
from typer.core import TyperGroup

from ..avatar.folder import open_avatar
from ..avatar.prepare import PrepareOptions, identity_of, import_clip, prepare, track_face
from ..avatar.prepare import Progress as StageProgress
from ..errors import FormatError, OptionError, UdhError
from ..files import atomic_write, check_writable
from ..intervals import describe_ranges, lost_ranges
from ..rendering.playback import WhenLonger, WhenShorter
from ..weights.registry import WEIGHTS, fetch, models_dir
from . import export, published
from .console import console, errors, show, show_lines

if TYPE_CHECKING:  # what loads torch is imported where it is used: `udh --help` shall be quick
    from ..training.loop import StepReport
    from ..training.run_log import Start


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
    cls=ExitCodes,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Give a person on video new things to say. Exit codes: 0 done, 2 the input is at fault, 1 a fault of this "
    "program, 130 interrupted.",
)
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


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the resume state beside the file.")]
SetAside = Annotated[
    bool, typer.Option("--set-aside", help="Keep what is there already under another name and train anew.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]


@app.command("prepare", help="Turn a clip of a talking person into an avatar folder; run again to continue.")
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


@app.command("train-syncnet", help="Train the SyncNet, the judge of lip-sync.")
def train_syncnet_command(
    avatar: Annotated[
        list[Path], typer.Option(help="Folder of a prepared avatar; several make a SyncNet for many people.")
    ],
    out: Annotated[Path, typer.Option(help="Where the SyncNet goes (.safetensors).")],
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    encoder: Encoder = PrepareOptions.encoder,
    init: Annotated[Path | None, typer.Option(help="Another SyncNet to start from, of the same encoder.")] = None,
    seed: int = 0,
    resume: Resume = False,
    set_aside: SetAside = False,
    overwrite: Overwrite = False,
    device: Device = "cpu",
) -> None:
    from ..evaluation.tables import syncnet_table
    from ..models.checkpoint import read_info
    from ..training.syncnet import SyncNetOptions, train_syncnet

    options = SyncNetOptions(steps or SyncNetOptions.steps, minutes, seed=seed)
    persons = [open_avatar(folder) for folder in avatar]
    start = _start(resume, set_aside, overwrite)
    _train(train_syncnet(persons, out, options, encoder=encoder, init=init, start=start, device=device), out)
    console.print(syncnet_table(read_info(out, "syncnet").metrics))


@app.command(
    "train",
    help="Train the generator, the model of this person's mouth, and judge it: a page named like the file tells how.",
)
def train_command(
    avatar: AvatarDir,
    out: Annotated[Path, typer.Option(help="Where the generator goes (.safetensors).")],
    syncnet: Annotated[
        Path | None, typer.Option(help="A SyncNet to listen to late in training; for clips of several minutes.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    motion_steps: Annotated[int | None, typer.Option(help="Updates of each motion network.")] = None,
    encoder: Encoder = PrepareOptions.encoder,
    seed: int = 0,
    resume: Resume = False,
    set_aside: SetAside = False,
    overwrite: Overwrite = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave out the evaluation and its page.")] = False,
    device: Device = "cpu",
) -> None:
    from ..inference.sync_scorer import open_syncnet
    from ..models.checkpoint import check_match
    from ..training.generator import GeneratorOptions, train_generator
    from ..training.run_log import open_log

    opened = open_avatar(avatar)
    judge = open_syncnet(syncnet, device) if syncnet else None
    if judge is not None:
        check_match(judge.info, encoder=encoder)
    motion = motion_steps or GeneratorOptions.motion_steps
    options = GeneratorOptions(steps or GeneratorOptions.steps, minutes, seed=seed, motion_steps=motion)
    start = _start(resume, set_aside, overwrite)
    run = train_generator(opened, out, options, encoder=encoder, syncnet=judge, start=start, device=device)
    _train(run, out)
    if not no_report:
        from .report import report_training

        report_training(opened, out, judge, open_log(out).reports, device)


def _start(resume: bool, set_aside: bool, overwrite: bool) -> Start:
    """What becomes of an earlier run's files; a usage error when it is to be more than one thing."""
    if resume + set_aside + overwrite > 1:
        raise typer.BadParameter("give one of --resume, --set-aside and --overwrite")
    if resume:
        return "resume"
    if set_aside:
        return "set aside"
    return "overwrite" if overwrite else "new"


def _train(reports: Iterator[StepReport], out: Path) -> None:
    """Pull a training run to its end."""

    def describe(report: StepReport) -> tuple[str, float, float, str]:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
        return f"train {report.phase}", report.done, 1.0, f"step {report.step}, {losses}, {report.rate:.0f}/s"

    show(reports, describe)
    console.print(f"{out} is ready", soft_wrap=True)


@app.command("render", help="Make the person say it.")
def render_command(
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar.")] = None,
    generator: Annotated[Path | None, typer.Option(help="The trained generator.")] = None,
    to_go: Annotated[Path | None, typer.Option(help="Both in one file, made by udh export.")] = None,
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    text: Annotated[str | None, typer.Option(help="English text to speak instead (needs hibari-tts).")] = None,
    when_audio_longer: Annotated[WhenLonger, typer.Option(help="What the picture does after its end.")] = "bounce",
    when_audio_shorter: Annotated[WhenShorter, typer.Option(help="Whether the picture ends with the audio.")] = "cut",
    gain: Annotated[
        float, typer.Option(help="How far the mouth moves from its rest, 0.5 to 1.5: 1 = about as in the clip.")
    ] = 1.0,
    rest: Annotated[bool, typer.Option("--rest/--no-rest", help="Close the mouth where the audio is silent.")] = True,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: 20 seconds that a long video wins back.")
    ] = False,
    device: Device = "cpu",
) -> None:
    from ..media.audio import write_wave
    from ..rendering.render import RenderOptions, render
    from ..speech.tts import speak

    if (audio is None) == (text is None):
        raise OptionError("give either --audio or --text")
    options = RenderOptions(when_audio_longer, when_audio_shorter, compiled=compiled, rest=rest, gain=gain)
    with tempfile.TemporaryDirectory() as scratch:
        opened, checkpoint = export.person(avatar, generator, to_go, Path(scratch))
        if audio is None:
            audio = Path(scratch) / "speech.wav"
            write_wave(audio, speak(text or ""))
        steps = render(opened, checkpoint, audio, out, options, device=device)
        show(steps, lambda p: (f"render: {p.stage}", p.done, p.total, f"{p.rate:.1f} frames/s" if p.rate else ""))
    console.print(f"{out} is ready")


@app.command("evaluate", help="Judge a generator on the held-out part of its clip.")
def evaluate_command(
    avatar: AvatarDir,
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    syncnet: Annotated[Path | None, typer.Option(help="A SyncNet to judge real and generated mouths.")] = None,
    voice: Annotated[Path | None, typer.Option(help="Speech of somebody else, to drive the mouth with, too.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="Table of the clip's words (start_s, end_s, word; tabs): do the lips close?")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page here: words, video, plots and tables.")] = None,
    device: Device = "cpu",
) -> None:
    from ..evaluation.evaluate import evaluate
    from ..evaluation.figures import strict_json
    from ..inference.sync_scorer import open_syncnet
    from .report import judged, write_page

    for path in filter(None, (json_out, html)):
        check_writable(path)
    judge, opened = open_syncnet(syncnet, device) if syncnet else None, open_avatar(avatar)
    result = judged(evaluate(opened, generator, syncnet=judge, voice=voice, words=words, device=device))
    if json_out is not None:
        with atomic_write(json_out) as temporary:
            temporary.write_text(strict_json(result.to_dict()), encoding="utf-8")
    if html is not None:
        write_page(html, generator, opened, result, judge)


@app.command("audit", help="Say what is wrong with a clip before anyone trains on it.")
def audit_command(
    video: Path,
    avatar: Annotated[
        Path | None, typer.Option("--avatar", help="Prepare the clip here and keep it; without it nothing is kept.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw where the clip is good and bad into this PNG.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
) -> None:
    from ..audit import audit
    from ..audit.finding import Audit
    from ..audit.plot import write_picture

    with tempfile.TemporaryDirectory() as scratch:
        root = avatar or Path(scratch) / "avatar"
        show(_prepared(video, root), _stage)
        opened = open_avatar(root)
        result = show(audit(opened), lambda p: ("audit", 1, 1, "") if isinstance(p, Audit) else _stage(p))
        if not isinstance(result, Audit):
            raise RuntimeError("the audit ended without a result")
        if picture is not None:
            write_picture(picture, opened, result)
    table = Table("", "check", "what was found")
    for finding in result.sorted():
        table.add_row(f"[{finding.level}]{finding.level}[/]", finding.name, escape(finding.sentence))
    console.print(table)
    if json_out is not None:
        with atomic_write(json_out) as temporary:
            temporary.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")


def _prepared(video: Path, root: Path) -> Iterator[StageProgress]:
    """Import the clip and find its face; an avatar that was made of all of this clip stays as it is."""
    with suppress(FormatError):  # no avatar yet, or an unfinished one
        if open_avatar(root).identity == identity_of(video):
            return
    options = PrepareOptions(skip_lost=True)
    yield from import_clip(video, root, options)
    yield from track_face(root, options)


def _stage(progress: StageProgress) -> tuple[str, float, float, str]:
    return progress.stage, progress.done, progress.total, ""


@app.command("demo", help="The whole chain in one go.")
def demo_command(
    video: Annotated[Path | None, typer.Option(help="Your clip; without it a talking person is made.")] = None,
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    minutes: Annotated[float, typer.Option(help="How long the generator trains.")] = 5.0,
    size: Annotated[int | None, typer.Option(help="Crop size; 160 for the made person, 256 for your clip.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    from ..demo.run import DemoOptions, Result, Stage, run_demo
    from .report import print_evaluation

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
    print_evaluation(result.evaluation)
    console.print(f"talking video: {result.video.resolve()}\nreport:        {result.page.resolve()}", soft_wrap=True)


weights_app = typer.Typer(no_args_is_help=True, help="The weight files this program uses.")
app.add_typer(weights_app, name="weights")


@weights_app.command("list", help="Name, size, licence and source of every weight file.")
def weights_list() -> None:
    wrapped = (Column(title, overflow="fold") for title in ("licence", "source", "here"))
    table = Table(Column("file", no_wrap=True), Column("MB", no_wrap=True), *wrapped)
    for weight in WEIGHTS.values():
        here = (models_dir() / weight.name).is_file()
        table.add_row(weight.name, f"{weight.size / 1e6:.1f}", weight.licence, weight.source, "yes" if here else "no")
    console.print(table)
    console.print(f"folder: {models_dir()}", soft_wrap=True)


@weights_app.command("fetch", help="Fetch and verify what is missing.")
def weights_fetch() -> None:
    for _ in show_lines(fetch()):
        pass


published.add_to(app)
export.add_to(app)


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app()
