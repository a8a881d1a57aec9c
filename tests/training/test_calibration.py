"""Amplitude and sharpness are brought to those of real mouths, in finished networks only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from udh_core import metrics
from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import open_avatar
from udh_core.face.crop import CropSpec, in_crop
from udh_core.face.detector import FaceMesh
from udh_core.face.mouth import mouth_opening
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.tensors import to_input, to_uint8
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.training.calibration import (
    AMPLITUDE_GOAL,
    MAX_AMPLITUDE,
    RealMouths,
    calibrate_amplitude,
    calibrate_sharpness,
    predicted_part,
)

CONDITIONS = torch.zeros(8, 3, 12)

# Amplitude


class Chooser(WarpNet):
    """Shows the real crop whose opening is nearest to a part of its condition."""

    def __init__(self, crops: np.ndarray, condition: Tensor, part: float, data: TrainingData) -> None:
        super().__init__(WarpConfig(96, references=1, widths=(8, 8)), data.avatar.crop)
        self.bank, self.condition, self.part = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255, condition, part

    def draw(self, crops: Tensor, shapes: Tensor, *_: object) -> Tensor:
        wanted = self.part * self.amplitude * shapes[:, 1, :1]
        return self.bank[(wanted - self.condition).abs().argmin(1)]


def amplitude(data: TrainingData, models, part: float) -> float:
    frames, track = data.train_frames, data.avatar.track()
    opening = mouth_opening(data.landmarks[frames])
    condition = torch.from_numpy((opening - opening.mean()) / opening.std()).float()
    network = Chooser(np.array(data.crops[frames]), condition, part, data).eval()
    some = slice(0, None, max(1, len(frames) // 40))
    places = in_crop(data.landmarks[frames], track.transforms[frames])
    conditions = condition[some, None, None].expand(-1, 3, 12)
    real = RealMouths(FaceMesh(models), np.array(data.crops[frames[some]]), places[some])
    calibrate_amplitude(network, real, conditions)
    return float(network.amplitude)


@pytest.mark.parametrize(("part", "wanted"), [(0.8, AMPLITUDE_GOAL / 0.8), (1.0, 1.0), (0.3, MAX_AMPLITUDE)])
def test_amplitude_adds_what_is_missing(training_data: TrainingData, models, part: float, wanted: float) -> None:
    assert amplitude(training_data, models, part) == pytest.approx(wanted, abs=0.06)


def test_amplitude_counts_in_eval_mode_only(training_data: TrainingData) -> None:
    network = WarpNet(WarpConfig(96, references=1, widths=(8, 8)), training_data.avatar.crop)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        network.references.random_(0, 256)
        crops, shapes = torch.rand(1, 3, 96, 96, generator=generator), torch.randn(1, 3, 12, generator=generator)
        plain = network.train()(crops, shapes)
        network.amplitude.fill_(1.3)
        assert torch.equal(network(crops, shapes), plain)
        assert not torch.allclose(network.eval()(crops, shapes), plain, atol=1e-3)


# The part of the real movement that is predicted


@pytest.fixture
def mouths() -> tuple[Generator, Tensor]:
    """A generator, and 500 shapes in its space."""
    torch.manual_seed(0)
    sizes = MotionConfig(6, channels=8, members=1), WarpConfig(96, references=1, widths=(8, 8))
    generator = Generator(GeneratorConfig(*sizes, 53), CropSpec(96))
    points = torch.randn(500, 53, 2)
    generator.fit_shape_space(points)
    return generator, generator.encode_shapes(points)


@pytest.mark.parametrize("kept", [12, 6, 0])
def test_what_is_not_predicted_is_missing_in_the_movement(mouths: tuple[Generator, Tensor], kept: int) -> None:
    generator, true = mouths
    predicted = true * (torch.arange(12) < kept)
    part = predicted_part(generator, [(predicted[:200], true[:200]), (predicted[200:], true[200:])])
    variance = true.var(0) * generator.shape_std.square()
    assert part == pytest.approx(float((variance[:kept].sum() / variance.sum()).sqrt()), abs=1e-4)


# Sharpness


@pytest.fixture
def crops(person_avatar: Path) -> np.ndarray:
    return np.array(open_avatar(person_avatar).crops()[:80:10])


@pytest.fixture
def soft(crops: np.ndarray, person_avatar: Path) -> WarpNet:
    """Draws the mean of slightly blurred references: it is untrained."""
    network = WarpNet(WarpConfig(96, references=1, widths=(8, 8)), open_avatar(person_avatar).crop).eval()
    blurred = cv2.GaussianBlur(crops[0], (0, 0), 0.6)
    network.references.copy_(torch.from_numpy(blurred).permute(2, 0, 1)[None])
    return network


def sharpness(network: WarpNet, crops: np.ndarray) -> float:
    with torch.no_grad():
        drawn = to_uint8(network(to_input(crops), CONDITIONS))
    weight = network.mask[0, 0].numpy() > 0.5
    return float(np.mean([metrics.sharpness(x, weight) for x in drawn]) / metrics.sharpness(crops[0], weight))


def test_sharpness_comes_back(soft: WarpNet, crops: np.ndarray) -> None:
    same = np.repeat(crops[:1], 8, axis=0)
    before = sharpness(soft, same)
    calibrate_sharpness(soft, same, CONDITIONS)
    assert before < 0.8 and abs(sharpness(soft, same) - 1) < 0.05


def test_sharp_enough_stays_as_it_is(soft: WarpNet, crops: np.ndarray) -> None:
    blurred = np.stack([cv2.GaussianBlur(crops[0], (0, 0), 3.0)] * 8)
    calibrate_sharpness(soft, blurred, CONDITIONS)
    assert float(soft.sharpening) == 0


def test_sharpening_counts_in_eval_mode_only(soft: WarpNet, crops: np.ndarray) -> None:
    with torch.no_grad():
        plain = soft(to_input(crops), CONDITIONS)
        soft.sharpening.fill_(1.0)
        assert not torch.allclose(soft(to_input(crops), CONDITIONS), plain, atol=1e-3)
        assert torch.equal(soft.train()(to_input(crops), CONDITIONS), plain)
