"""Recordings in which nobody speaks: nothing at all, and faint noise. In them the motion network learns to rest.

`activity.silence` tells what is quiet beside the speech around it; of a recording without speech it cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .avatar import Avatar
from .media.audio import SAMPLE_RATE_HZ
from .speech import features

LENGTH_S = 12
FAINT_DB = (-80.0, 0.0), (-55.0, 0.0), (-70.0, 1.0), (-50.0, 1.0)  # of full scale, and 0 for white noise, 1 for pink


def waveforms() -> list[np.ndarray]:
    """(n,) float32 each: digital silence, and noises."""
    count, rng = LENGTH_S * SAMPLE_RATE_HZ, np.random.default_rng(0)
    found = [np.zeros(count, np.float32)]
    for loudness, tilt in FAINT_DB:
        spectrum = np.fft.rfft(rng.standard_normal(count))
        noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (tilt / 2), count)
        found.append((noise * 10 ** (loudness / 20) / noise.std()).astype(np.float32))
    return found


def extract_silences(
    avatar: Avatar, encoder: str, *, models: Path | None = None, device: str = "cpu"
) -> Iterator[float]:
    """Extract the features that `silence_features` opens into the avatar's folder; yields the fraction done, last 1.0.

    What is there already is not done again.
    """
    recordings = waveforms()
    for done, waveform in enumerate(recordings):
        for part in features.extract_to(_silence_folder(avatar, done), waveform, encoder, device=device, models=models):
            yield (done + part) / len(recordings)


def silence_features(avatar: Avatar, encoder: str) -> list[np.ndarray]:
    """(T, D) float32 each, memory-mapped."""
    return [features.load(_silence_folder(avatar, k), encoder).values for k in range(1 + len(FAINT_DB))]


def _silence_folder(avatar: Avatar, number: int) -> Path:
    return avatar.root / "features" / f"silence-{number}"
