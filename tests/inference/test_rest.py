"""The mouth at rest: which mouth that is, and how far an amplitude gain moves away from it."""

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
from udh_core.inference.driving import eased, mouth_shapes, scale_movement
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import with_neighbours
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.speech.features import AudioFeatures, extract
from udh_core.training.calibration import rest_shape


def test_gain_is_monotone_and_stays_within_the_clip() -> None:
    rest, shapes = torch.full((3,), -1.0), torch.tensor([[-1.0, 0.5, 2.9], [-2.0, -1.5, 4.0]])
    assert torch.equal(scale_movement(shapes, rest, 1.0, 3.0), shapes)
    wider = [(scale_movement(shapes, rest, gain, 3.0) - rest).abs() for gain in (0.5, 0.8, 1.0, 1.2, 1.5)]
    assert all((more >= less).all() for less, more in pairwise(wider))
    wide = torch.tensor([[-1.0, 1.25, 3.0], [-2.5, -1.75, 4.0]])
    torch.testing.assert_close(scale_movement(shapes, rest, 1.5, 3.0), wide)


@pytest.mark.parametrize(
    ("count", "fps", "moved"), [(10, 25.0, 3), (20, 50.0, 6), (10, 5.0, 1), (2, 25.0, 1), (1, 25.0, 1)]
)
def test_ends_at_rest(count: int, fps: float, moved: int) -> None:
    """Only frames at the ends change, each nearer to the rest pose than the next one."""
    rest, shapes = torch.full((3,), -1.0), torch.full((count, 3), 2.0)
    way = (eased(shapes, rest, fps) - rest)[:, 0]
    assert way[0] == way[-1] == 0
    assert torch.equal(way, way.flip(0))
    assert torch.equal(way[moved:-moved], torch.full_like(way[moved:-moved], 3.0))
    assert (way[: min(moved, count // 2)].diff() > 0).all()


@pytest.mark.parametrize("amplitude", [0.4, 1.6, -1.0, float("nan")])
def test_wrong_amplitude(amplitude: float) -> None:
    with pytest.raises(OptionError, match=r"`amplitude` = .*: choose from 0\.5 to 1\.5"):
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
