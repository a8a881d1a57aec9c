"""What the tests of faults have done by a process of its own, which they kill, starve or cut off from the network.

A server that has imported everything forks them (see conftest): one costs milliseconds. What the program imports when
it is first needed is imported here: it takes longer than the tiny trainings.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import librosa.core.audio as _audio  # noqa: F401
import librosa.effects as _effects  # noqa: F401
import scipy.stats as _stats  # noqa: F401
import soundfile as _soundfile  # noqa: F401
import torch._dynamo as _dynamo  # noqa: F401 - by torch.optim

from udh_core.avatar.folder import open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import prepare
from udh_core.cli import main
from udh_core.errors import UdhError
from udh_core.evaluation import html as _html  # noqa: F401 - what the commands import is imported before the fork
from udh_core.export.bundle import open_bundle
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.media.audio import load_waveform
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import load_resume, open_generator
from udh_core.rendering.render import render
from udh_core.training.augmented_features import extract_augmented, extract_silences
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.syncnet import train_syncnet

PREPARE = PrepareOptions(crop_px=96, encoder="mel80")
TRAIN = GeneratorOptions(steps=4, motion_steps=1, batch=2, model_size="small", check_every=4, save_every=1)
TRAIN_SYNCNET = SyncNetOptions(steps=4, neighbourhoods=2, check_every=2)


def prepare_avatar(clip: Path, root: Path) -> None:
    prepare(clip, root, PREPARE).run()


def train(root: Path, out: Path) -> None:
    """Begins, or goes on."""
    train_generator(open_avatar(root), out, TRAIN, encoder="mel80", start="resume").run()


def train_expert(root: Path, out: Path) -> None:
    """Begins, or goes on."""
    train_syncnet(open_avatar(root), out, TRAIN_SYNCNET, encoder="mel80", start="resume").run()


def add_features(root: Path) -> None:
    """Those that the first training of an avatar makes."""
    opened = open_avatar(root)
    extract_augmented(opened, "mel80").run()
    extract_silences(opened, "mel80").run()


def render_video(root: Path, generator: Path, speech: Path, out: Path) -> None:
    render(open_avatar(root), generator, speech, out).run()


def command(
    arguments: list[str],
    log: Path,
    file_bytes: int | None = None,
    encoding: str = "utf-8",
    offline: bool = False,
    environment: dict[str, str] | None = None,
) -> None:
    """The command line; what it prints goes into `log`.

    file_bytes: no file may become larger, as on a full disk. offline: whoever opens a connection gets an error.
    """
    os.environ.update(environment or {})
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(target, number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding, write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding, "backslashreplace", write_through=True)
    if file_bytes is not None:
        import resource  # there is none on Windows, where these tests do not run

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if offline:
        sys.addaudithook(_refuse_network)
    sys.argv = ["udh", *arguments]
    main()


def _refuse_network(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise PermissionError(f"the test has no network: {event} {arguments}")


def connect() -> None:
    """What `command` with `offline` must not let through."""
    import socket

    sys.addaudithook(_refuse_network)
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except PermissionError:
        return
    sys.exit("the network was asked")


def open_all(opener: str, paths: list[Path], log: Path) -> None:
    """Open one file after the other. A line for each: how it went; the last line: bytes of memory at the highest."""
    import resource

    with log.open("w", encoding="utf-8", buffering=1) as lines:
        for path in paths:
            try:
                OPENERS[opener](path)
                print("opened", file=lines)
            except UdhError as error:
                print("refused" if "\n" not in str(error) else f"FAULT {path}: {error!r}", file=lines)
            except Exception as error:  # noqa: BLE001 - the very thing that is looked for
                print(f"FAULT {path}: {type(error).__name__}: {str(error)[:300]!r}", file=lines)
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(peak * 1024, file=lines)


def _read_video(path: Path) -> None:
    """Every way a video is read; the first that refuses it does not keep the others from trying."""
    ways = (
        lambda: probe(path),
        lambda: load_waveform(path),
        lambda: sum(1 for _ in read_frames(path)),
        lambda: import_video(path, path.with_suffix(".imported.mp4")).run(),
    )
    refused = None
    for way in ways:
        try:
            way()
        except UdhError as error:
            refused = error
    if refused is not None:
        raise refused


def _open_bundle(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        open_bundle(path, Path(folder) / "opened")


OPENERS = {
    "generator": open_generator,
    "syncnet": open_syncnet,
    "resume": lambda path: load_resume(path.with_name(path.name.replace(".resume", ""))),
    "bundle": _open_bundle,
    "video": _read_video,
    "sound": load_waveform,
    "fault": lambda path: 1 / 0,
}
