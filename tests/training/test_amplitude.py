"""A mouth that opens less than it is told is told more, in finished networks only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from udh_core.avatar.dataset import TrainingData
from udh_core.face.crop import in_crop
from udh_core.face.detector import FaceMesh
from udh_core.face.mouth import mouth_opening
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.training.calibration import AMPLITUDE_GOAL, MAX_AMPLITUDE, calibrate_amplitude


class Chooser(WarpNet):
    """Shows the real crop whose opening is nearest to a part of what it is told."""

    def __init__(self, crops: np.ndarray, told: Tensor, part: float, data: TrainingData) -> None:
        super().__init__(WarpConfig(160, references=1, widths=(8, 8)), data.avatar.crop)
        self.bank, self.told, self.part = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255, told, part

    def forward(self, crops: Tensor, shapes: Tensor) -> Tensor:
        wanted = self.part * self.amplitude * shapes[:, 1, :1]
        return self.bank[(wanted - self.told).abs().argmin(1)]


def reach(data: TrainingData, models, part: float) -> float:
    frames, track = data.train_frames, data.avatar.track()
    opening = mouth_opening(data.landmarks[frames])
    told = torch.from_numpy((opening - opening.mean()) / opening.std()).float()
    network = Chooser(np.array(data.crops[frames]), told, part, data).eval()
    some = slice(0, None, max(1, len(frames) // 40))
    places = in_crop(data.landmarks[frames], track.transforms[frames])
    steered = told[some, None, None].expand(-1, 3, 12)
    calibrate_amplitude(network, FaceMesh(models), np.array(data.crops[frames[some]]), steered, places[some])
    return float(network.amplitude)


@pytest.mark.parametrize(("part", "wanted"), [(0.8, AMPLITUDE_GOAL / 0.8), (1.0, 1.0), (0.3, MAX_AMPLITUDE)])
def test_what_is_missing_is_added(training_data: TrainingData, models, part: float, wanted: float) -> None:
    assert reach(training_data, models, part) == pytest.approx(wanted, abs=0.06)


def test_training_does_not_see_it(training_data: TrainingData) -> None:
    network = WarpNet(WarpConfig(160, references=1, widths=(8, 8)), training_data.avatar.crop)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        network.references.random_(0, 256)
        crops, shapes = torch.rand(1, 3, 160, 160, generator=generator), torch.randn(1, 3, 12, generator=generator)
        plain = network.train()(crops, shapes)
        network.amplitude.fill_(1.3)
        assert torch.equal(network(crops, shapes), plain)
        assert not torch.allclose(network.eval()(crops, shapes), plain, atol=1e-3)
