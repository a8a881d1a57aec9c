"""Fine detail is brought back to what the real mouths have, in finished networks only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from udh_core import metrics
from udh_core.avatar.folder import open_avatar
from udh_core.models.tensors import to_input, to_uint8
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.training.calibration import calibrate_sharpness

STEERED = torch.zeros(8, 3, 12)


@pytest.fixture
def crops(person_avatar: Path) -> np.ndarray:
    return np.array(open_avatar(person_avatar).crops()[:80:10])


@pytest.fixture
def soft(crops: np.ndarray, person_avatar: Path) -> WarpNet:
    """Draws the mean of slightly blurred references: it knows nothing yet."""
    network = WarpNet(WarpConfig(160, references=1, widths=(8, 8)), open_avatar(person_avatar).crop).eval()
    blurred = cv2.GaussianBlur(crops[0], (0, 0), 0.6)
    network.references.copy_(torch.from_numpy(blurred).permute(2, 0, 1)[None])
    return network


def sharpness(network: WarpNet, crops: np.ndarray) -> float:
    with torch.no_grad():
        drawn = to_uint8(network(to_input(crops), STEERED))
    weight = network.mask[0, 0].numpy() > 0.5
    return float(np.mean([metrics.sharpness(x, weight) for x in drawn]) / metrics.sharpness(crops[0], weight))


def test_detail_comes_back(soft: WarpNet, crops: np.ndarray) -> None:
    same = np.repeat(crops[:1], 8, axis=0)
    before = sharpness(soft, same)
    calibrate_sharpness(soft, same, STEERED)
    assert before < 0.8 and abs(sharpness(soft, same) - 1) < 0.05


def test_sharp_enough_stays_as_it_is(soft: WarpNet, crops: np.ndarray) -> None:
    blurred = np.stack([cv2.GaussianBlur(crops[0], (0, 0), 3.0)] * 8)
    calibrate_sharpness(soft, blurred, STEERED)
    assert float(soft.sharpening) == 0


def test_training_does_not_see_it(soft: WarpNet, crops: np.ndarray) -> None:
    with torch.no_grad():
        plain = soft(to_input(crops), STEERED)
        soft.sharpening.fill_(1.0)
        assert not torch.allclose(soft(to_input(crops), STEERED), plain, atol=1e-3)
        assert torch.equal(soft.train()(to_input(crops), STEERED), plain)
