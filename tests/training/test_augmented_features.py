"""Features of augmented speech and of synthetic silence: kept in the avatar's folder; training on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.inference.driving import mouth_shapes
from udh_core.media.audio import load_waveform
from udh_core.models.generator import Generator
from udh_core.speech import augmentation, features
from udh_core.training import augmented_features


@pytest.fixture
def avatar(person_avatar: Path, tmp_path: Path) -> Avatar:
    """A copy in which no augmented features are kept."""
    kept = shutil.ignore_patterns("augmented-*", "silence-*")
    return open_avatar(shutil.copytree(person_avatar, tmp_path / "avatar", ignore=kept))


def test_augmented_rows_stand_for_the_same_sounds(avatar: Avatar) -> None:
    parts = [step.fraction for step in augmented_features.extract_augmented(avatar, "mel80")]
    assert parts == sorted(parts) and parts[-1] == 1.0
    plain = features.extract(load_waveform(avatar.audio), "mel80").values
    loudness = plain.mean(1)
    loud = loudness > np.median(loudness)  # noise fills the pauses
    for other in augmented_features.augmented_features(avatar, "mel80"):
        assert abs(len(other.rows) - len(plain) / other.speed) <= 2
        rows = np.clip(np.rint((np.arange(len(plain)) + 0.5) / other.speed - 0.5).astype(int), 0, len(other.rows) - 1)
        predicted = other.rows[rows].mean(1)
        lags = np.arange(-20, 21)
        correlation = [np.corrcoef(np.roll(predicted, lag)[loud], loudness[loud])[0, 1] for lag in lags]
        assert abs(lags[int(np.argmax(correlation))]) <= 1  # rows, of 10 ms
        assert max(correlation) > 0.8


def test_features_of_silence_are_kept(avatar: Avatar) -> None:
    parts = [step.fraction for step in augmented_features.extract_silences(avatar, "mel80")]
    assert parts == sorted(parts) and parts[-1] == 1.0
    for rows, waveform in zip(
        augmented_features.silence_features(avatar, "mel80"), augmentation.silent_waveforms(), strict=True
    ):
        np.testing.assert_array_equal(rows, features.extract(waveform, "mel80").values)


def away_from_rest(generator: Generator, data: TrainingData, noise: np.ndarray) -> float:
    """How far from its rest pose the mouth is, as a share of what speech moves it by."""
    driving = features.extract(noise, "whisper-tiny")
    predicted = mouth_shapes(generator, driving, np.arange(0.5, 2.5, 0.04), noise, rest=False)
    usual = generator.encode_shapes(data.points).norm(dim=1).mean()
    return float((predicted - generator.rest_pose).norm(dim=1).mean() / usual)


def test_mouth_rests_in_a_noise_it_was_not_trained_on(learn_motion: Callable, figure: Callable[[str], None]) -> None:
    noise = (np.random.default_rng(9).normal(size=16000 * 3) * 10 ** (-65 / 20)).astype(np.float32)
    trained = away_from_rest(*learn_motion(100), noise)
    untrained = away_from_rest(*learn_motion(100, silent_weight=0.0), noise)
    figure(f"mouth off its rest in faint noise: {trained:.2f}, without silence in training {untrained:.2f}")
    assert trained < 0.4 * untrained
