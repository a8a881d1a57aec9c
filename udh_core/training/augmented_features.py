"""Features of the avatar's sound under augmentation and of synthetic silence, cached in the avatar's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..media.audio import load_waveform
from ..speech import features
from ..speech.augmentation import AUGMENTATIONS, FAINT_DB, augmented, silent_waveforms


class AugmentedFeatures(NamedTuple):
    """Features of the clip's sound in one augmentation."""

    rows: np.ndarray  # (T, D) float32
    speed: float  # what is at row r of the plain sound is at (r + 0.5) / speed - 0.5 here


def extract_augmented(
    avatar: Avatar, encoder: str, *, models: Path | None = None, device: str = "cpu"
) -> Iterator[float]:
    """Extract what `augmented_features` opens into the avatar's folder; yields the fraction done.

    What is there already is not encoded again.
    """
    waveform = load_waveform(avatar.audio)
    for done, augmentation in enumerate(AUGMENTATIONS):
        other = augmented(waveform, augmentation)
        for part in features.extract_to(_augmented_folder(avatar, done), other, encoder, device=device, models=models):
            yield (done + part.fraction) / len(AUGMENTATIONS)


def augmented_features(avatar: Avatar, encoder: str) -> list[AugmentedFeatures]:
    """The clip's speech in all disguises, memory-mapped."""
    return [
        AugmentedFeatures(features.load(_augmented_folder(avatar, k), encoder).values, augmentation.speed)
        for k, augmentation in enumerate(AUGMENTATIONS)
    ]


def _augmented_folder(avatar: Avatar, number: int) -> Path:
    return avatar.root / "features" / f"augmentation-{number}"


def extract_silences(
    avatar: Avatar, encoder: str, *, models: Path | None = None, device: str = "cpu"
) -> Iterator[float]:
    """Extract what `silence_features` opens into the avatar's folder; yields the fraction done.

    What is there already is not done again.
    """
    recordings = silent_waveforms()
    for done, waveform in enumerate(recordings):
        for part in features.extract_to(_silence_folder(avatar, done), waveform, encoder, device=device, models=models):
            yield (done + part.fraction) / len(recordings)


def silence_features(avatar: Avatar, encoder: str) -> list[np.ndarray]:
    """(T, D) float32 each, memory-mapped."""
    return [features.load(_silence_folder(avatar, k), encoder).values for k in range(1 + len(FAINT_DB))]


def _silence_folder(avatar: Avatar, number: int) -> Path:
    return avatar.root / "features" / f"silence-{number}"
