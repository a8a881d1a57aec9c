"""Clips whose every frame shows its own number as a grey level, and what is read from them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from udh_core.media.audio import load_waveform
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import probe
from udh_core.media.video import read_frames

FPS = Fraction(25)
NUMBERS = list(range(75))


def plain(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def numbers(path: Path, **options: object) -> list[int]:
    """Which frame of the numbered clip each frame is."""
    return [round((float(frame.mean()) - 20) / 3) for frame in read_frames(path, **options)]  # type: ignore[arg-type]


def convert(source: Path, target: Path, *arguments: str, before: tuple[str, ...] = ()) -> Path:
    run([*before, "-i", url(source), *arguments, "-y", url(target)], "the test's own conversion failed")
    return target


def flash_s(path: Path) -> float:
    fps = float(probe(path).video.fps)  # type: ignore[union-attr]
    return int(np.argmax([frame.mean() for frame in read_frames(path)])) / fps


def click_s(path: Path) -> float:
    return int(np.argmax(np.abs(load_waveform(path)) > 0.3)) / 16000
