"""Features of the avatar's sound under augmentation and of synthetic silence, cached in the avatar's folder."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..files import exclusive_lock
from ..media.audio import load_waveform
from ..progress import Progress, job
from ..speech import features
from ..speech.augmentation import AUGMENTATIONS, FAINT_DB, augmented, silent_waveforms


class AugmentedFeatures(NamedTuple):
    """Features of the clip's sound in one augmentation."""

    rows: np.ndarray  # (T, D) float32
    speed: float  # what is at row r of the plain sound is at (r + 0.5) / speed - 0.5 here


@job
def extract_augmented(
    avatar: Avatar,
    encoder: str,
    *,
    waveform: np.ndarray | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, list[AugmentedFeatures]]:
    """Extract what `augmented_features` opens into the avatar's folder. What is there already is not encoded again.

    FileError while another run works in the folder.
    waveform: (m,) of the avatar's sound, where it is decoded already.
    """
    plain = load_waveform(avatar.audio) if waveform is None else waveform
    count = len(AUGMENTATIONS)
    for number, augmentation in enumerate(AUGMENTATIONS):
        detail = f"{number + 1} of {count}: {augmentation.speed:g} times the pitch"
        yield Progress("augmented features", number, count, detail)
        other = augmented(plain, augmentation)
        folder = _augmented_folder(avatar, number)
        for part in _extract(avatar, folder, other, encoder, device, models):
            yield Progress("augmented features", number + part.fraction, count, detail)
    return augmented_features(avatar, encoder)


def augmented_features(avatar: Avatar, encoder: str) -> list[AugmentedFeatures]:
    """The clip's speech in all augmentations, memory-mapped."""
    return [
        AugmentedFeatures(features.load(_augmented_folder(avatar, k), encoder).values, augmentation.tempo)
        for k, augmentation in enumerate(AUGMENTATIONS)
    ]


def _extract(
    avatar: Avatar, folder: Path, waveform: np.ndarray, encoder: str, device: str, models: Path | None
) -> Generator[Progress, None, None]:
    """Of a waveform (n,), into a folder of the avatar, where no other run may work meanwhile; no lock is needed where
    they are there already."""
    if features.are_of(folder, encoder, waveform):
        return
    with exclusive_lock(avatar.root):
        yield from features.extract_to(folder, waveform, encoder, device=device, models=models).steps()


def _augmented_folder(avatar: Avatar, number: int) -> Path:
    return avatar.root / "features" / f"augmented-{number}"


@job
def extract_silences(
    avatar: Avatar, encoder: str, *, models: Path | None = None, device: str = "cpu"
) -> Generator[Progress, None, list[np.ndarray]]:
    """Extract what `silence_features` opens into the avatar's folder. What is there already is not encoded again."""
    recordings = silent_waveforms()
    for number, waveform in enumerate(recordings):
        folder = _silence_folder(avatar, number)
        for part in _extract(avatar, folder, waveform, encoder, device, models):
            yield Progress("features of silence", number + part.fraction, len(recordings))
    return silence_features(avatar, encoder)


def silence_features(avatar: Avatar, encoder: str) -> list[np.ndarray]:
    """(T, D) float32 each, memory-mapped."""
    return [features.load(_silence_folder(avatar, k), encoder).values for k in range(1 + len(FAINT_DB))]


def _silence_folder(avatar: Avatar, number: int) -> Path:
    return avatar.root / "features" / f"silence-{number}"
