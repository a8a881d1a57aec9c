"""Doing a job: the same code for the commands, for workers of this machine and for those of a cluster."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import InUseError, OptionError, RemoteError, UdhError
from ..files import scratch_folder
from ..progress import Job, Progress, job
from .jobs import AnyJob, PrepareJob, RenderJob, TrainJob, check_person
from .outcome import Outcome, machines_fault
from .remote import brought_near

if TYPE_CHECKING:  # what is heavy is imported where it is used: `udh --help` shall be quick
    from ..avatar.folder import Avatar
    from ..models.checkpoint import Checkpoint

_log = logging.getLogger(__name__)


def perform(task: AnyJob, again: bool) -> Outcome:
    """Do a job to its end. Never raises what a job may raise: how it ended is the result.

    again: it was begun before; a training goes on where that one stopped.
    """
    begun_s = time.monotonic()
    ended = _ended(task, again)
    return replace(ended, seconds=round(time.monotonic() - begun_s, 2), worker=f"{socket.gethostname()}:{os.getpid()}")


def _ended(task: AnyJob, again: bool) -> Outcome:
    try:
        check_device(task.device)
        with brought_near(task, again) as local:
            work_of(local, again).run()
    except InUseError as error:
        return Outcome("in use", str(error))
    except RemoteError as error:
        return Outcome("worker", str(error))
    except UdhError as error:
        return Outcome("input", str(error))
    except Exception as error:  # noqa: BLE001 (one bad job never stops the others)
        line = machines_fault(error)
        if line:
            return Outcome("input" if isinstance(error, OSError) else "worker", line)
        _log.exception("a fault of this program in %s", task)
        return Outcome("program", f"a fault of this program: {type(error).__name__}: {error}")
    return Outcome()


def check_device(name: str) -> None:
    """OptionError when torch cannot compute there."""
    if name == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as e:
        raise OptionError(f"torch cannot compute on {name} here; use cpu, or install torch for it") from e


def work_of(task: AnyJob, again: bool = False) -> Job[Path] | Job[Avatar] | Job[Checkpoint]:
    """The work of a job, to be pulled."""
    if isinstance(task, RenderJob):
        return render_job(task)
    if isinstance(task, PrepareJob):
        return prepare_job(task)
    return train_job(task, again)


@job
def render_job(task: RenderJob, also: tuple[Path, Path, Path] | None = None) -> Generator[Progress, None, Path]:
    """The video; as `rendering.render`. also: avatar, generator and sound of who speaks beside the person."""
    from ..avatar.folder import open_avatar
    from ..media.audio import write_wave
    from ..rendering.render import render
    from ..rendering.speakers import Speaker
    from ..speech.tts import speak

    with scratch_folder() as scratch:
        avatar, generator = open_person(task.avatar, task.generator, task.bundle, Path(scratch))
        audio = task.audio
        if audio is None:
            audio = Path(scratch) / "speech.wav"
            write_wave(audio, speak(task.text or ""))
        others = [] if also is None else [Speaker(open_avatar(also[0]), *also[1:])]
        work = render(avatar, generator, audio, task.out, task.options, others=others, device=task.device)
        return (yield from work.steps())


def open_person(avatar: Path | None, generator: Path | None, bundle: Path | None, scratch: Path) -> tuple[Avatar, Path]:
    """Avatar and generator as given, or a bundle opened in `scratch`; OptionError as in `check_person`."""
    check_person(avatar, generator, bundle)
    if bundle is not None:
        from ..export.bundle import open_bundle

        return open_bundle(bundle, scratch / "avatar")
    from ..avatar.folder import open_avatar

    return open_avatar(cast(Path, avatar)), cast(Path, generator)


def prepare_job(task: PrepareJob) -> Job[Avatar]:
    """The avatar; as `avatar.prepare`."""
    from ..avatar.prepare import prepare

    return prepare(task.video, task.avatar, task.options, audio=task.audio, device=task.device)


@job
def train_job(task: TrainJob, again: bool) -> Generator[Progress, None, Checkpoint]:
    """The generator; as `training.generator`. There is no report: evaluate it."""
    from ..avatar.folder import open_avatar
    from ..inference.sync_scorer import open_syncnet
    from ..models.checkpoint import check_match
    from ..training.generator import train_generator

    avatar = open_avatar(task.avatar)
    scorer = open_syncnet(task.syncnet, task.device) if task.syncnet else None
    if scorer is not None:
        check_match(scorer.info, encoder=task.encoder)
    goes_on = again and task.start in ("new", "resume")
    training = train_generator(
        avatar,
        task.out,
        task.options,
        encoder=task.encoder,
        syncnet=scorer,
        start="auto" if goes_on else task.start,
        device=task.device,
    )
    return (yield from training.steps())
