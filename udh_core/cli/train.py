"""The commands `udh train` and `udh train-syncnet`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..avatar.options import PrepareOptions
from ..batch.jobs import TrainJob
from ..training.options import DrawnFrom, GeneratorOptions, ModelSize
from .console import console, run
from .options import AvatarDir, Device, Encoder, Overwrite, Resume, SetAside, quoted

if TYPE_CHECKING:  # what loads torch is imported where it is used: `udh --help` shall be quick
    from ..models.checkpoint import Checkpoint
    from ..progress import Job
    from ..training.run_log import Start


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
    from ..avatar.folder import open_avatar
    from ..evaluation.tables import syncnet_table
    from ..models.checkpoint import read_info
    from ..training.options import SyncNetOptions
    from ..training.syncnet import train_syncnet

    options = SyncNetOptions(SyncNetOptions.steps if steps is None else steps, minutes, seed=seed)
    persons = [open_avatar(folder) for folder in avatar]
    start = _start(resume, set_aside, overwrite)
    _train(train_syncnet(persons, out, options, encoder=encoder, init=init, start=start, device=device), out)
    console.print(syncnet_table(read_info(out, "syncnet").metrics))


def train_command(
    avatar: AvatarDir,
    out: Annotated[Path, quoted(TrainJob, "out")],
    syncnet: Annotated[Path | None, quoted(TrainJob, "syncnet")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    model_size: Annotated[ModelSize, quoted(GeneratorOptions, "model_size")] = GeneratorOptions.model_size,
    motion_steps: Annotated[int | None, typer.Option(help="Updates of each motion network.")] = None,
    drawn_from: Annotated[DrawnFrom, quoted(GeneratorOptions, "drawn_from")] = GeneratorOptions.drawn_from,
    encoder: Encoder = PrepareOptions.encoder,
    seed: int = 0,
    resume: Resume = False,
    set_aside: SetAside = False,
    overwrite: Overwrite = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave out the evaluation and its page.")] = False,
    device: Device = "cpu",
) -> None:
    from ..avatar.folder import open_avatar
    from ..inference.sync_scorer import open_syncnet
    from ..models.checkpoint import check_match
    from ..training.generator import train_generator
    from ..training.run_log import open_log

    opened = open_avatar(avatar)
    scorer = open_syncnet(syncnet, device) if syncnet else None
    if scorer is not None:
        check_match(scorer.info, encoder=encoder)
    updates = GeneratorOptions.steps if steps is None else steps
    motion = GeneratorOptions.motion_steps if motion_steps is None else motion_steps
    options = GeneratorOptions(updates, minutes, model_size, seed=seed, motion_steps=motion, drawn_from=drawn_from)
    start = _start(resume, set_aside, overwrite)
    training = train_generator(opened, out, options, encoder=encoder, syncnet=scorer, start=start, device=device)
    _train(training, out)
    if not no_report:
        from .report import report_training

        report_training(opened, out, scorer, open_log(out).reports, device)


def _start(resume: bool, set_aside: bool, overwrite: bool) -> Start:
    """What becomes of an earlier run's files; a usage error when it is to be more than one thing."""
    if resume + set_aside + overwrite > 1:
        raise typer.BadParameter("give one of --resume, --set-aside and --overwrite")
    if resume:
        return "resume"
    if set_aside:
        return "set aside"
    return "overwrite" if overwrite else "new"


def _train(training: Job[Checkpoint], out: Path) -> None:
    """Pull a training to its end."""
    run(training, "train: ")
    console.print(f"{out} is ready", soft_wrap=True)
