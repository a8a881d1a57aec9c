"""The mouth at rest: when it is silent, which mouth that is, and how far a gain moves away from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import open_avatar
from udh_core.errors import OptionError
from udh_core.face.mouth import mouth_opening
from udh_core.inference.compositor import Compositor
from udh_core.inference.driving import mouth_shapes, scale_movement
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import with_neighbours
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.speech.activity import EASE_S, LEAD_S, silence
from udh_core.speech.features import AudioFeatures, extract
from udh_core.training.calibration import rest_shape

SPEECH_DB = -15.0


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """Noise in parts of (seconds, dB above or below speech)."""
    noise = np.random.default_rng(0).normal(size=round(sum(length for length, _ in parts) * 16000))
    level = np.repeat([10 ** ((SPEECH_DB + db) / 20) for _, db in parts], [round(s * 16000) for s, _ in parts])
    return (noise * level).astype(np.float32)


def weight(waveform: np.ndarray) -> np.ndarray:
    """(n,) a hundred times a second."""
    return silence(waveform, np.arange(len(waveform) // 160) / 100)


def test_digital_silence_is_silent_everywhere() -> None:
    assert (silence(np.zeros(32000, np.float32), np.arange(0, 4, 0.1)) == 1).all()


def test_speech_is_not_silent() -> None:
    assert (weight(sound((2, 0))) == 0).all()
    assert (weight(sound((1, 0), (0.2, -60), (1, 0))) == 0).all()  # a stop consonant


def test_pause_is_entered_and_left_smoothly_and_before_the_sound() -> None:
    found = weight(sound((2, 0), (2, -60), (2, 0)))
    assert (found[:200] == 0).all()
    assert (found[200 + round(100 * EASE_S) + 4 : 400 - round(100 * (EASE_S + LEAD_S)) - 4] == 1).all()
    assert (found[400 - round(100 * LEAD_S) + 2 :] == 0).all()
    assert np.abs(np.diff(found)).max() < 0.09  # in 10 ms


def test_sound_between_the_thresholds_changes_nothing() -> None:
    pause, dip = (
        weight(sound((2, 0), (2, -60), (2, 0))),
        weight(sound((2, 0), (0.9, -60), (0.2, -24), (0.9, -60), (2, 0))),
    )
    assert np.array_equal(dip, pause)
    assert (weight(sound((2, 0), (2, -24), (2, 0))) == 0).all()
    woken = weight(sound((2, 0), (0.9, -60), (0.2, -18), (0.9, -60), (2, 0)))
    assert woken[300] == 0 and woken[240] == 1


def test_loudness_of_the_recording_does_not_matter() -> None:
    parts = sound((2, 0), (2, -35), (2, 0))
    np.testing.assert_allclose(weight(parts * 0.1), weight(parts), atol=1e-4)


def test_few_words_in_a_long_noisy_silence() -> None:
    found = weight(sound((30, -30), (1, 0), (30, -30)))
    assert found[:2900].min() == 1 and found[3200:].min() == 1
    assert (found[3000:3100] == 0).all()


def test_after_the_recording_it_is_silent() -> None:
    found = silence(sound((1, 0)), np.arange(0, 3, 0.01))
    assert found[95] == 0 and (found[130:] == 1).all()


def test_gain_is_monotone_and_stays_within_the_clip() -> None:
    rest, shapes = torch.full((3,), -1.0), torch.tensor([[-1.0, 0.5, 2.9], [-2.0, -1.5, 4.0]])
    assert torch.equal(scale_movement(shapes, rest, 1.0), shapes)
    wider = [(scale_movement(shapes, rest, gain) - rest).abs() for gain in (0.5, 0.8, 1.0, 1.2, 1.5)]
    assert all((more >= less).all() for less, more in pairwise(wider))
    torch.testing.assert_close(scale_movement(shapes, rest, 1.5), torch.tensor([[-1.0, 1.25, 3.0], [-2.5, -1.75, 4.0]]))


@pytest.mark.parametrize("amplitude", [0.4, 1.6, -1.0, float("nan")])
def test_wrong_amplitude(amplitude: float) -> None:
    with pytest.raises(OptionError, match=r"amplitude = .*: choose from 0\.5 to 1\.5"):
        RenderOptions(amplitude=amplitude)


def opening_of(data: TrainingData, shape: torch.Tensor) -> float:
    """Mean opening of the five learnt frames whose shapes, here lips and jaw themselves, are nearest."""
    distance = (data.points[data.train_frames].flatten(1) - shape).norm(dim=1)
    return float(mouth_opening(data.landmarks[data.train_frames[distance.argsort()[:5].numpy()]]).mean())


@pytest.mark.parametrize("spoken", [0.0, 1.0])
def test_rest_is_a_closed_mouth(training_data: TrainingData, spoken: float) -> None:
    """Both ways to find it: in pauses, and among all frames where there are none."""
    data = replace(training_data, spoken=np.full(len(training_data.spoken), bool(spoken)))
    openings = mouth_opening(data.landmarks[data.train_frames])
    shape = rest_shape(data, data.points.flatten(1))
    assert opening_of(data, shape) < np.percentile(openings, 35)


def test_rest_is_learnt_in_pauses(training_data: TrainingData) -> None:
    shapes, spoken = torch.arange(len(training_data.points)).float()[:, None], np.ones(len(training_data.spoken), bool)
    spoken[40:70] = False
    assert 45 <= float(rest_shape(replace(training_data, spoken=spoken), shapes)) < 65


@pytest.fixture(scope="module")
def mouth(generator_file: Path):
    _, generator = open_generator(generator_file)
    return generator


def test_shapes_are_predicted_in_speech_and_rest_in_silence(mouth, speech: Path) -> None:
    waveform = np.concatenate([load_waveform(speech), np.zeros(16000 * 2, np.float32)])
    features, times_s = extract(waveform, "mel80"), (np.arange(100) + 0.5) / 25
    free, bound = (mouth_shapes(mouth, features, times_s, waveform, rest=rest) for rest in (False, True))
    assert torch.equal(bound[75:], mouth.rest_pose.expand(25, -1))
    assert torch.equal(bound[20:40], free[20:40])
    assert not torch.equal(free[75:], bound[75:])


def test_render_of_silence_is_the_resting_mouth(
    mouth, generator_file: Path, person_avatar: Path, tmp_path: Path
) -> None:
    avatar, wave = open_avatar(person_avatar), tmp_path / "silence.wav"
    write_wave(wave, np.zeros(16000 // 2, np.float32))
    frames = list(read_frames(avatar.video, count=12))
    numbers = list(range(len(frames)))
    compositor = Compositor(mouth.warp, avatar.crop, avatar.track().transforms)
    resting = compositor.composite(frames, numbers, with_neighbours(mouth.rest_pose.expand(12, -1), 3))
    babble = AudioFeatures(np.random.default_rng(0).normal(size=(50, 80)).astype(np.float32) * 9, 100.0, "mel80")
    apart = []
    for rest in (True, False):
        out = tmp_path / f"{rest}.mp4"
        list(render(avatar, generator_file, wave, out, RenderOptions(crf=0, rest=rest), driving=babble))
        apart.append(np.abs(np.stack(list(read_frames(out))).astype(int) - np.stack(resting)).mean())
    assert apart[0] < apart[1]
    assert apart[0] < 1.5  # grey levels, by the encoder's colours
