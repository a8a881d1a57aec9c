"""A person's head on the motion prior: a ridge regression that can leave a part of the frames out."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from udh_core.face.crop import CropSpec
from udh_core.face.mouth import lip_gap
from udh_core.inference.driving import mouth_amplitude
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig, MotionNet
from udh_core.models.motion_prior import MotionPrior, PriorConfig
from udh_core.models.warping import WarpConfig
from udh_core.training.prior_head import RIDGE, PriorHead, general_amplitude, general_head, hidden_rows, opening_spread

PRIOR = PriorConfig(6, channels=8, dilations=(1,), members=1)


@pytest.fixture
def motion() -> MotionNet:
    torch.manual_seed(0)
    return MotionNet(MotionConfig(6, shape_width=3, channels=8, members=1, prior=PRIOR)).eval()


def test_head_finds_a_linear_relation(motion: MotionNet) -> None:
    """Shrunk by the penalty, which says how much that is where the inputs are independent; the mean is kept."""
    truth, head = torch.randn(3, 8), PriorHead(motion, 4)
    for tenth in range(4):
        hidden = 5 + 2 * torch.randn(5000, 8)
        head.add(tenth, hidden, hidden @ truth.T + 1)
    weight, bias = head.fit()
    torch.testing.assert_close((1 + RIDGE) * weight, truth, atol=0.1, rtol=0)
    mean = torch.full((8,), 5.0)
    torch.testing.assert_close(weight @ mean + bias, truth @ mean + 1, atol=0.2, rtol=0)


def test_what_is_left_out_has_no_say(motion: MotionNet) -> None:
    parts = [(torch.randn(50, 8), torch.randn(50, 3)) for _ in range(3)]
    first, second = (PriorHead(motion, 3) for _ in range(2))
    for tenth, (hidden, shapes) in enumerate(parts):
        first.add(tenth, hidden, shapes)
        second.add(tenth, hidden, shapes + (100 if tenth == 1 else 0))
    for one, other in zip(first.fit(left_out=1), second.fit(left_out=1), strict=True):
        assert torch.equal(one, other)
    assert (first.fit()[1] - second.fit()[1]).abs().min() > 1


def test_general_head_is_the_prior_at_the_size_of_the_mouth() -> None:
    """What it says of a person with twice the opening opens the lips twice as far."""
    torch.manual_seed(0)
    sizes = MotionConfig(6, channels=8, members=1, prior=PriorConfig(6, channels=8, dilations=(1,), members=2))
    config = GeneratorConfig(sizes, WarpConfig(160, references=1, widths=(8, 8)), 53)
    generator = Generator(config, CropSpec(160)).eval()
    prior = cast(MotionPrior, generator.motion.prior)
    prior.shape_basis.normal_()
    generator.fit_shape_space(torch.randn(200, 53, 2))
    features, shapes, found = torch.randn(1, 40, 6), torch.randn(100, 12), []
    for scale in (1.0, 2.0):
        weight, bias = general_head(generator, scale * shapes)
        found.append((prior.hidden(features)[0] @ weight.T + bias).detach())
    torch.testing.assert_close(2 * found[0], found[1])
    basis, theirs = generator.shape_basis, (shapes * generator.shape_std) @ generator.shape_basis
    opening = float(lip_gap(theirs.unflatten(1, (-1, 2)).numpy()).std(ddof=1))
    canonical = (prior(features)[0].detach() * prior.shape_std) @ prior.shape_basis
    wanted = opening * canonical @ basis.T @ basis
    torch.testing.assert_close((found[0] * generator.shape_std) @ basis, wanted, atol=1e-4, rtol=1e-3)


def test_general_amplitude_opens_the_lips_as_far_as_the_own_shapes() -> None:
    """Scaled to it, shapes that move lips and jaw in another proportion open the lips alike."""
    torch.manual_seed(0)
    sizes = MotionConfig(6, channels=8, members=1, prior=PRIOR)
    generator = Generator(GeneratorConfig(sizes, WarpConfig(160, references=1, widths=(8, 8)), 53), CropSpec(160))
    generator.fit_shape_space(torch.randn(200, 53, 2))
    own, general = torch.randn(300, 12), torch.randn(300, 12) * torch.linspace(0.1, 1, 12)
    generator.mouth_amplitude.fill_(mouth_amplitude(generator, own))
    scaled = general * general_amplitude(generator, general, own) / mouth_amplitude(generator, general)
    assert opening_spread(generator, scaled) == pytest.approx(opening_spread(generator, own), rel=1e-4)
    assert mouth_amplitude(generator, scaled) != pytest.approx(mouth_amplitude(generator, own), rel=0.02)


def test_long_recordings_are_seen_in_blocks(motion: MotionNet, monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(500, 6)
    whole = hidden_rows(motion, features)
    monkeypatch.setattr("udh_core.training.prior_head._BLOCK_ROWS", 100)
    torch.testing.assert_close(hidden_rows(motion, features), whole)
