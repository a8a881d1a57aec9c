"""The motion prior: its packaged file, and what share of a mouth shape is its."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from udh_core.errors import WeightsError
from udh_core.models import motion_prior
from udh_core.models.motion import MotionConfig, MotionNet
from udh_core.models.motion_prior import MotionPrior, PriorConfig, open_prior, prior_of

SMALL = PriorConfig(6, channels=8, dilations=(1, 2))


def network(share: float) -> MotionNet:
    torch.manual_seed(0)
    made = MotionNet(MotionConfig(6, channels=16, members=2, prior=SMALL)).eval()
    made.set_prior(MotionPrior(SMALL))
    made.prior_share.fill_(share)
    return made


def test_packaged_prior_is_whole_small_and_frozen() -> None:
    prior = open_prior()
    assert (Path(motion_prior.__file__).parent / motion_prior.FILE).stat().st_size <= 4_000_000
    assert not prior.training
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    moved = prior(torch.randn(1, 100, prior.config.feature_width))
    assert moved.shape == (1, 100, prior.config.shape_width)
    assert moved.std(1).max() > 0.05


def test_there_is_one_for_one_encoder() -> None:
    assert prior_of("whisper-tiny") is not None
    assert prior_of("mel80") is None


def test_damaged_file(tmp_path: Path) -> None:
    content = (Path(motion_prior.__file__).parent / motion_prior.FILE).read_bytes()
    (tmp_path / "prior.safetensors").write_bytes(content[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"prior\.safetensors is damaged .*: install the package again"):
        open_prior(tmp_path / "prior.safetensors")


def test_share_leads_from_the_members_to_the_prior() -> None:
    features = torch.randn(2, 30, 6)
    with torch.no_grad():
        none, half, all_ = (network(share)(features) for share in (0.0, 0.5, 1.0))
        plain = network(0.0)
        plain.prior = None
        assert torch.equal(plain(features), none)
    torch.testing.assert_close((none + all_) / 2, half)
    assert (none - all_).abs().max() > 0.01


def test_the_further_a_voice_is_the_more_the_general_head_says() -> None:
    """Each voice of a batch by its own distance."""
    features, made = torch.randn(1, 30, 6).expand(3, -1, -1), network(0.6)
    with torch.no_grad():
        own, half, other = made(features, torch.tensor([0.0, 0.5, 1.0]))
        assert torch.equal(own, made(features)[0])
        general = made.general_head(made.prior_hidden(features))[0] * made.variance_gain
        torch.testing.assert_close(other, general)
        torch.testing.assert_close(half, (own + other) / 2)
        assert (own - other).abs().max() > 0.01
        made.prior = None
        assert torch.equal(made(features, torch.ones(3)), made(features))


def test_prior_depends_on_how_speech_differs_from_its_mean() -> None:
    """A voice whose features are all shifted, with the mean that is known of it, moves the mouth as before."""
    features, shift = torch.randn(1, 30, 6), torch.randn(6)
    made = network(1.0)
    with torch.no_grad():
        before = made(features)
        unknown = made(features + shift)
        made.speech_mean += shift
        torch.testing.assert_close(made(features + shift), before, atol=1e-5, rtol=1e-4)
    assert (unknown - before).abs().max() > 0.01


def test_configuration_of_before_has_no_prior() -> None:
    described = MotionConfig(6, channels=16, members=1).to_dict()
    older = {name: value for name, value in described.items() if name != "prior"}
    config = MotionConfig.from_dict(older)
    assert config.prior is None
    assert not any(name.startswith("prior") for name in MotionNet(config).state_dict())
