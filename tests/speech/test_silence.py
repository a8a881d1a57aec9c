"""Recordings in which nobody speaks, and the mouth that has learnt to rest in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import open_avatar
from udh_core.inference.driving import mouth_shapes
from udh_core.models.generator import Generator
from udh_core.speech import augmentation, features
from udh_core.training import augmented_features
from udh_core.training.motion import MotionSettings


def loudness_db(waveform: np.ndarray) -> float:
    return float(20 * np.log10(waveform.std()))


def test_one_is_digital_silence_and_the_others_are_faint() -> None:
    nothing, *noises = augmentation.silent_waveforms()
    assert not nothing.any()
    np.testing.assert_allclose(
        [loudness_db(noise) for noise in noises], [db for db, _ in augmentation.FAINT_DB], atol=0.01
    )


def test_what_is_heard_in_them_is_kept(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    parts = [step.fraction for step in augmented_features.extract_silences(avatar, "mel80")]
    assert parts == sorted(parts) and parts[-1] == 1.0
    for rows, waveform in zip(
        augmented_features.silence_features(avatar, "mel80"), augmentation.silent_waveforms(), strict=True
    ):
        np.testing.assert_array_equal(rows, features.extract(waveform, "mel80").values)


def away_from_rest(generator: Generator, data: TrainingData, noise: np.ndarray) -> float:
    """How far from its rest the mouth is, as a share of what speech moves it by."""
    heard = features.extract(noise, "whisper-tiny")
    told = mouth_shapes(generator, heard, np.arange(0.5, 2.5, 0.04), noise, rest=False)
    usual = generator.encode_shapes(data.points).norm(dim=1).mean()
    return float((told - generator.rest_pose).norm(dim=1).mean() / usual)


def test_mouth_rests_in_a_noise_it_has_not_heard(learn_motion: Callable, figure: Callable[[str], None]) -> None:
    noise = (np.random.default_rng(9).normal(size=16000 * 3) * 10 ** (-65 / 20)).astype(np.float32)
    learnt = away_from_rest(*learn_motion(100), noise)
    not_learnt = away_from_rest(*learn_motion(100, MotionSettings(silent_weight=0.0)), noise)
    figure(f"mouth off its rest in faint noise: {learnt:.2f}, without silence in training {not_learnt:.2f}")
    assert learnt < 0.4 * not_learnt
