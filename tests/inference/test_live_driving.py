"""What a stream knows of a voice so far: the adaptation of `driving`, without jumps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from udh_core.face.crop import CropSpec
from udh_core.inference.driving import feature_shift, mouth_amplitude, voice_distance
from udh_core.inference.live_driving import RunningVoice
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig

RATE_HZ, ROWS = 50.0, 8  # of a hop


@pytest.fixture
def generator() -> Generator:
    """Its own voice has features of zero mean and unit variance; its mouth moves by one standard deviation."""
    motion = MotionConfig(6, channels=16, members=1)
    made = Generator(GeneratorConfig(motion, WarpConfig(96, references=1, widths=(16, 24)), 20), CropSpec(96))
    made.mouth_amplitude.fill_(12**0.5)
    return made


def run(generator: Generator, seconds: float, mean: float, movement: float) -> tuple[RunningVoice, np.ndarray]:
    """A voice after so many seconds, and its shift (n,) of the first feature after each hop."""
    random, voice, shifts = np.random.default_rng(0), RunningVoice(generator, RATE_HZ), []
    for _ in range(round(seconds * RATE_HZ / ROWS)):
        features = (mean + random.standard_normal((ROWS, 6))).astype(np.float32)
        shapes = (movement * random.standard_normal((ROWS, 12))).astype(np.float32)
        voice.update(features, torch.from_numpy(shapes), -20.0)
        shifts.append(float(voice.shift[0]))
    return voice, np.array(shifts)


def test_a_voice_is_adapted_to_in_time_and_without_jumps(generator: Generator) -> None:
    voice, shifts = run(generator, 60, mean=0.9, movement=0.8)
    whole = feature_shift(generator, torch.full((6,), 0.9), 60.0)
    torch.testing.assert_close(voice.shift, whole, atol=0.05, rtol=0)
    assert voice.gain == pytest.approx(1 / 0.8, rel=0.03)
    assert voice.distance == pytest.approx(voice_distance(generator, torch.full((6,), 0.9), 60.0), abs=0.02)
    assert voice.loud_db == pytest.approx(-20)
    assert not shifts[:3].any() and shifts[round(4 * RATE_HZ / ROWS)] < -0.6
    assert np.abs(np.diff(shifts, prepend=0)).max() < 0.16


def test_the_own_voice_is_left_alone(generator: Generator) -> None:
    voice, shifts = run(generator, 10, mean=0.0, movement=1.0)
    assert np.abs(shifts).max() < 0.05 and voice.gain == pytest.approx(1, abs=0.03)
    assert voice.distance == 0


def test_another_speaker_takes_the_place_of_the_first(generator: Generator) -> None:
    voice, _ = run(generator, 60, mean=0.9, movement=0.8)
    for _ in range(round(180 * RATE_HZ / ROWS)):
        voice.update(np.full((ROWS, 6), -0.9, np.float32), torch.randn(ROWS, 12), -30.0)
    assert float(voice.shift.min()) > 0.75
    assert voice.loud_db == pytest.approx(-30)


def test_amplitude_is_that_of_driving(generator: Generator) -> None:
    """A gain of 1.6 at most: a mouth that hardly moves is not torn open."""
    voice, _ = run(generator, 60, mean=0.0, movement=0.1)
    assert mouth_amplitude(generator, 0.1 * torch.randn(500, 12)) < 0.2 * float(generator.mouth_amplitude)
    assert voice.gain == pytest.approx(1.6, rel=0.01)
