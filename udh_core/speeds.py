"""The clip's own speech at other speeds: other pitch, formants and tempo, and the same mouth at every moment.

A motion network that has heard them follows other voices better (README, "How it works").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from . import features
from .audio import SAMPLE_RATE_HZ, load_waveform
from .avatar import Avatar

SPEEDS = (0.8, 0.9, 1.1, 1.22)


class Heard(NamedTuple):
    """Features of the clip's sound at one speed."""

    rows: np.ndarray  # (T, D) float32
    speed: float  # what is at row r of the plain sound is at (r + 0.5) / speed - 0.5 here


def hear(avatar: Avatar, encoder: str, *, models: Path | None = None, device: str = "cpu") -> Iterator[float]:
    """Extract the features that `heard` opens into the avatar's folder; yields the fraction done, last 1.0.

    What is there already is not done again.
    """
    waveform = load_waveform(avatar.audio)
    for done, speed in enumerate(SPEEDS):
        other = soxr.resample(waveform, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ)
        for part in features.extract_to(_folder(avatar, speed), other, encoder, device=device, models=models):
            yield (done + part) / len(SPEEDS)


def heard(avatar: Avatar, encoder: str) -> list[Heard]:
    """The clip's speech at all speeds, memory-mapped."""
    return [Heard(features.load(_folder(avatar, speed), encoder).values, speed) for speed in SPEEDS]


def _folder(avatar: Avatar, speed: float) -> Path:
    return avatar.root / "features" / f"speed-{speed:g}"
