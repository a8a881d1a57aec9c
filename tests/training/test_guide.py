"""What is known before training: where the body is, and how far it moves what lies below the jaw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import TrainingData
from udh_core.models.guided_warp import GuidedWarpNet
from udh_core.models.tensors import to_input
from udh_core.models.warping import WarpConfig
from udh_core.training.guide import Described, fit_guide

NUMBERS = 4  # of the body


@pytest.fixture(scope="module")
def shapes(training_data: TrainingData) -> torch.Tensor:
    return torch.zeros(len(training_data.crops), 12)


@pytest.fixture(scope="module")
def warp(training_data: TrainingData) -> GuidedWarpNet:
    return GuidedWarpNet(WarpConfig(96, widths=(8,), flows=3), training_data.avatar.crop).eval()


@pytest.fixture(scope="module")
def described(warp: GuidedWarpNet, training_data: TrainingData, shapes: torch.Tensor) -> Described:
    return fit_guide(warp, training_data, shapes, seed=0)


def test_what_is_seen_of_a_crop_tells_where_the_body_is(
    warp: GuidedWarpNet, described: Described, training_data: TrainingData, shapes: torch.Tensor
) -> None:
    frames = training_data.train_frames[::3]
    true = described(frames)[:, -NUMBERS:]
    masked = warp.mask_input(to_input(training_data.crops[frames]))
    seen = warp.description(masked, shapes[frames][:, None].expand(-1, 3, -1))[:, -NUMBERS:]
    moves = true.std(0) * training_data.avatar.crop.size > 0.2
    assert moves[:2].any()
    correlation = [np.corrcoef(true[:, k], seen[:, k])[0, 1] for k in np.flatnonzero(moves)]
    assert min(correlation) > 0.9


def test_the_body_moves_what_is_below_the_jaw_and_nothing_in_the_face(
    warp: GuidedWarpNet, described: Described
) -> None:
    across = warp.mesh_flow[-NUMBERS, 0]
    height, width = across.shape
    assert not across[: height // 2, width // 4 : -width // 4].any()
    assert across[-1].mean() > 0.7
    face = warp.mesh_flow[:-NUMBERS].abs().sum((0, 1))
    assert face[-1].mean() < 0.3 * face.max()


def test_pictures_are_no_further_apart_for_it(warp: GuidedWarpNet, described: Described) -> None:
    assert warp.metric.any()
    assert not warp.metric[-NUMBERS:].any() and not warp.metric[:, -NUMBERS:].any()
