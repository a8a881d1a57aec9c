"""Recordings in which nobody speaks, and the mouth that has learnt to rest in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core import features, silences, speeds
from udh_core.avatar import open_avatar
from udh_core.batches import TrainingData
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.pixels import PixelsConfig
from udh_core.painter import predict_shapes
from udh_core.rest import rest_shape
from udh_core.train_motion import train_motion
from udh_core.training import Schedule


def loudness_db(waveform: np.ndarray) -> float:
    return float(20 * np.log10(waveform.std()))


def test_one_is_digital_silence_and_the_others_are_faint() -> None:
    nothing, *noises = silences.waveforms()
    assert not nothing.any()
    np.testing.assert_allclose([loudness_db(noise) for noise in noises], [db for db, _ in silences.FAINT_DB], atol=0.01)


def test_what_is_heard_in_them_is_kept(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    parts = list(silences.hear(avatar, "mel80"))
    assert parts == sorted(parts) and parts[-1] == 1.0
    for rows, waveform in zip(silences.heard(avatar, "mel80"), silences.waveforms(), strict=True):
        np.testing.assert_array_equal(rows, features.extract(waveform, "mel80").values)


def away_from_rest(data: TrainingData, heard: features.AudioFeatures) -> float:
    """Of a network learnt in a few steps: how far from its rest the mouth is, as a share of what speech moves it by."""
    torch.manual_seed(0)
    sizes, spec = MotionConfig(data.features.shape[1], members=1), data.avatar.crop
    generator = Generator(GeneratorConfig(sizes, PixelsConfig(spec.size), data.points.shape[1]), spec)
    generator.learn_shapes(data.points[data.learnt])
    shapes = generator.encode_shapes(data.points)
    generator.rest.copy_(rest_shape(data, shapes))
    sounds = {"others": speeds.heard(data.avatar, "mel80"), "silences": silences.heard(data.avatar, "mel80")}
    for _ in train_motion(generator, data, shapes, Schedule(120, None), seed=0, **sounds):
        pass
    told = predict_shapes(generator.eval(), heard, np.arange(0.5, 2.5, 0.04))
    return float((told - generator.rest).norm(dim=1).mean() / shapes.norm(dim=1).mean())


def test_mouth_rests_in_a_noise_it_has_not_heard(
    training_data: TrainingData, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    for _ in (*speeds.hear(training_data.avatar, "mel80"), *silences.hear(training_data.avatar, "mel80")):
        pass
    noise = np.random.default_rng(9).normal(size=16000 * 3) * 10 ** (-65 / 20)
    heard = features.extract(noise.astype(np.float32), "mel80")
    learnt = away_from_rest(training_data, heard)
    monkeypatch.setattr("udh_core.train_motion.SILENT_WEIGHT", 0.0)
    not_learnt = away_from_rest(training_data, heard)
    figure(f"mouth off its rest in faint noise: {learnt:.2f}, without silence in training {not_learnt:.2f}")
    assert learnt < 0.6 * not_learnt
