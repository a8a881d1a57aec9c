"""The commands `udh train` and `udh train-syncnet`; torchrun starts several processes of them that train together."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..avatar.options import PrepareOptions
from ..batch.jobs import DEVICE, TrainJob
from ..batch.work import check_device
from ..errors import UdhError
from ..training.options import DrawnFrom, GeneratorOptions, ModelSize, SyncNetOptions
from .console import console, run
from .options import AvatarDir, Encoder, Overwrite, Resume, SetAside, quoted, usable_device

if TYPE_CHECKING:  # what loads torch is imported where it is used: `udh --help` shall be quick
    from ..models.checkpoint import Checkpoint
    from ..progress import Job
    from ..training.processes import Processes
    from ..training.run_log import Start


def _usable_device(name: str) -> str:
    """As `usable_device`; which one each of several processes gets is found later, by `_together`."""
    from ..training.processes import started_together

    return name if started_together(os.environ) else usable_device(name)


Device = Annotated[str, typer.Option(help=DEVICE, callback=_usable_device)]


def train_syncnet_command(
    avatar: Annotated[
        list[Path], typer.Option(help="Folder of a prepared avatar; several make a SyncNet for many people.")
    ],
    out: Annotated[Path, typer.Option(help="Where the SyncNet goes (.safetensors).")],
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    neighbourhoods: Annotated[int, quoted(SyncNetOptions, "neighbourhoods")] = SyncNetOptions.neighbourhoods,
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
    from ..training.syncnet import train_syncnet

    updates = SyncNetOptions.steps if steps is None else steps
    start = _start(resume, set_aside, overwrite)
    with _together(device) as (processes, own):
        options = SyncNetOptions(updates, minutes, neighbourhoods, seed=seed)
        persons = [open_avatar(folder) for folder in avatar]
        training = train_syncnet(
            persons, out, options, encoder=encoder, init=init, start=start, device=own, processes=processes
        )
        _train(training, out)
    if processes.is_first:
        console.print(syncnet_table(read_info(out, "syncnet").metrics))


def train_command(
    avatar: AvatarDir,
    out: Annotated[Path, quoted(TrainJob, "out")],
    syncnet: Annotated[Path | None, quoted(TrainJob, "syncnet")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this long.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many updates.")] = None,
    batch: Annotated[int, quoted(GeneratorOptions, "batch")] = GeneratorOptions.batch,
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

    updates = GeneratorOptions.steps if steps is None else steps
    motion = GeneratorOptions.motion_steps if motion_steps is None else motion_steps
    start = _start(resume, set_aside, overwrite)
    with _together(device) as (processes, own):
        opened = open_avatar(avatar)
        scorer = open_syncnet(syncnet, own) if syncnet else None
        if scorer is not None:
            check_match(scorer.info, encoder=encoder)
        options = GeneratorOptions(
            updates, minutes, model_size, batch, seed=seed, motion_steps=motion, drawn_from=drawn_from
        )
        training = train_generator(
            opened, out, options, encoder=encoder, syncnet=scorer, start=start, device=own, processes=processes
        )
        _train(training, out)
    if processes.is_first and not no_report:
        from .report import report_training

        report_training(opened, out, scorer, open_log(out).reports, own)


@contextmanager
def _together(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that torchrun has started, and the device of this one. Only the first speaks, and of failures the
    first."""
    from ..training.processes import joined

    with joined(os.environ, device) as processes:
        if not processes.is_first:
            console.quiet = True
            logging.disable()
        try:
            own = processes.device(device)
            if processes.count > 1:
                check_device(own)
            yield processes, own
        except (UdhError, OSError, RuntimeError, MemoryError, KeyboardInterrupt) as error:
            if processes.is_first_to_fail():
                raise
            raise typer.Exit(2) from error


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
