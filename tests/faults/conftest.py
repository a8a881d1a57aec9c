"""A tiny clip and what is made of it, a server that forks processes, and a disk that is nearly full."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

sys.path.append(str(Path(__file__).parent))  # children.py, which forked processes import by its name, and machine.py
from machine import FEW, Disk, Forks, Made

from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import VideoWriter, read_frames

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]  # they need fork, rlimits and /proc
SIDE = 192


@pytest.fixture(scope="session")
def forks(models: Path) -> Forks:
    """The server; `models` are the weight files, which the processes find by themselves."""
    server = Forks()
    server.run(time.sleep, 0.0)
    return server


@pytest.fixture(scope="session")
def clip(person: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of the built-in person, 192 px, every other frame, with sound."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    with VideoWriter(path, width=SIDE, height=SIDE, fps=Fraction(25, 2), audio=person / "speech.wav") as writer:
        for number, frame in enumerate(read_frames(person / "person.mp4")):
            if number % 2 == 0:
                writer.write(cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return path


@pytest.fixture(scope="session")
def made(forks: Forks, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The chain by the command line, in processes without a network."""
    folder = tmp_path_factory.mktemp("made")
    names = ("avatar", "g.safetensors", "s.safetensors", "b.safetensors", "speech.wav")
    avatar, generator, syncnet, bundle, speech = (folder / name for name in names)
    write_wave(speech, load_waveform(clip, start_s=1.0, duration_s=0.5))
    own, both = ["--avatar", avatar], ["--avatar", avatar, "--generator", generator]
    commands = {
        "prepare": [clip, *own, "--encoder", "mel80", "--crop-px", 96],
        "train-syncnet": [*own, "--encoder", "mel80", "--out", syncnet, "--steps", 2],
        "train": [*own, "--encoder", "mel80", "--out", generator, *FEW, "--no-report"],
        "evaluate": [*both, "--json", folder / "figures.json"],
        "export": [*both, "--bundle", bundle],
        "render": ["--bundle", bundle, "--audio", speech, "--out", folder / "talk.mp4"],
    }
    ended = {
        name: forks.udh(folder / f"{name}.log", name, *arguments, offline=True) for name, arguments in commands.items()
    }
    return Made(avatar, generator, syncnet, bundle, speech, ended)


@pytest.fixture
def avatar(made: Made, tmp_path: Path) -> Path:
    """An avatar folder that a test may change."""
    return Path(shutil.copytree(made.avatar, tmp_path / "avatar"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be filled."""
    small = Disk(tmp_path / "disk")
    yield small
    small.close()
