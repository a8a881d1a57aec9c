"""The baseline of the benchmarks: trained and drawn with as the published system does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.reference_baseline import (
    BaselineData,
    BaselineOptions,
    StandIn,
    Vgg19Features,
    baseline_data,
    drawn_crops,
    train_reference,
)
from udh_core.avatar.folder import open_avatar
from udh_core.published.unet import PublishedUNet
from udh_core.speech.features import AudioFeatures


@pytest.fixture(scope="module")
def data(person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> BaselineData:
    return baseline_data(open_avatar(person_avatar), "mel80", tmp_path_factory.mktemp("baseline"))


def test_data_is_split_as_ours(data: BaselineData) -> None:
    count = data.avatar.info.frame_count
    assert data.crops.shape == (count, 168, 168, 3)
    assert data.rows.shape == (count, 2, 1024)
    assert data.train_frames.max() + 25 <= data.held_out.min()
    assert 0.5 < data.rows.std() < 2


def test_baseline_learns_and_draws(data: BaselineData) -> None:
    torch.manual_seed(0)
    network = PublishedUNet()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # four steps are too few for its averages
    reports = list(train_reference(network, data, BaselineOptions(steps=4, batch=2, perceptual=0)))
    assert [r.step for r in reports] == [1, 2, 3, 4]
    assert reports[-1].losses["l1"] < reports[0].losses["l1"]
    assert not network.training
    frames = data.held_out[:2]
    own = drawn_crops(data, network, frames)
    other = drawn_crops(data, network, frames, data.train_frames[:2])
    truth = data.avatar.crops()[frames]
    assert own.shape == truth.shape
    assert np.abs(own.astype(int) - truth).mean() > 1
    assert not np.array_equal(own, other)
    elsewhere = np.concatenate([np.zeros((9, 2, 1024), np.float32), data.rows])
    assert np.array_equal(own, drawn_crops(data, network, frames, frames + 9, elsewhere))


def test_perceptual_loss_takes_part(data: BaselineData) -> None:
    report = next(train_reference(PublishedUNet(), data, BaselineOptions(steps=1, batch=2)))
    assert set(report.losses) == {"l1", "vgg"}


def test_first_fifteen_layers_of_vgg19() -> None:
    layers = Vgg19Features()
    assert len(layers) == 15
    assert layers(torch.rand(1, 3, 32, 32)).shape == (1, 256, 8, 8)
    assert not any(p.requires_grad for p in layers.parameters())


@pytest.mark.parametrize("width", [80, 1024, 2000])
def test_stand_in_keeps_what_features_say(width: int) -> None:
    values = np.random.default_rng(1).normal(3, 2, (400, width)).astype(np.float32)
    heard = AudioFeatures(values, 50.0, "some")
    rows = StandIn(heard)(heard, (np.arange(100) + 0.5) / 25, 25.0)
    assert rows.shape == (100, 2, 1024)
    flat, normal = rows.reshape(200, 1024), (values[:200] - values.mean(0)) / values.std(0)
    assert flat.std() == pytest.approx(1, abs=0.2)
    if width <= 1024:  # distances are kept
        scale = np.sqrt(1024 / width)
        assert np.linalg.norm(flat[3] - flat[9]) == pytest.approx(
            scale * np.linalg.norm(normal[3] - normal[9]), rel=0.01
        )


def test_steps_or_minutes() -> None:
    with pytest.raises(ValueError, match="either steps or minutes"):
        BaselineOptions()
