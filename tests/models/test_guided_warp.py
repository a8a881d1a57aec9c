"""A network whose flows begin where the mesh says: what it draws untrained, and what must never enter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from warps import HIDDEN, INSIDE, SIZE, SPEC, crops, fill, shapes

from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.guided_warp import FLOW_STEP, NEARNESS_STEP, TEMPERATURE, GuidedWarpNet, described_by
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import FLOW_REACH, WarpConfig, WarpNet

SMALL = {"widths": (8, 12), "condition": 16, "flows": 2}


def network(references: int = 1) -> GuidedWarpNet:
    """Untrained, of a person whose mesh does not move yet. Reference k has 10 k as its first number."""
    made = GuidedWarpNet(WarpConfig(SIZE, references=references, **SMALL), SPEC).eval()
    fill(made, apart=10.0)
    return made


def drawn(warp: WarpNet, *first: float) -> Tensor:
    """(n, 3, S, S) for shapes of these first numbers."""
    with torch.inference_mode():
        return warp(crops(len(first)), shapes(*first))


def reference(warp: WarpNet, number: int, moved_px: int = 0) -> Tensor:
    """(3, S, S), moved to the right."""
    return torch.roll(warp.references[number].float() / 255, moved_px, dims=2)


@pytest.mark.parametrize("first", [-0.8, 0.0, 0.4])
def test_the_mesh_moves_a_reference(first: float) -> None:
    """A first number larger by 1 than that of the reference: 10 px further left."""
    warp = network()
    warp.mesh_flow[0, 0] = -10 / SIZE
    wanted = reference(warp, 0, -round(10 * first))
    torch.testing.assert_close(drawn(warp, first)[0][:, INSIDE], wanted[:, INSIDE], atol=3e-3, rtol=0)


def test_the_nearest_reference_is_drawn_before_training() -> None:
    warp = network(references=3)
    for number, picture in enumerate(drawn(warp, 0.0, 10.0, 20.0)):
        torch.testing.assert_close(picture[:, INSIDE], reference(warp, number)[:, INSIDE], atol=3e-3, rtol=0)
    between = drawn(warp, 5.0 - TEMPERATURE / 20)[0]  # (5 + x)² - (5 - x)² = 20 x
    share = torch.tensor([0.5, -0.5]).softmax(0)
    mixed = share[0] * reference(warp, 0) + share[1] * reference(warp, 1)
    torch.testing.assert_close(between[:, INSIDE], mixed[:, INSIDE], atol=3e-3, rtol=0)


def test_training_moves_flows_and_blend_from_there() -> None:
    warp = network(references=2)
    warp.mesh_flow[0, 0] = -10 / SIZE
    before = drawn(warp, 0.4)
    warp.flow_head.bias.data[0] = 4 / SIZE / 0.25  # of the first reference: from 4 px further right
    wanted = reference(warp, 0, -8)
    torch.testing.assert_close(drawn(warp, 0.4)[0][:, INSIDE], wanted[:, INSIDE], atol=3e-3, rtol=0)
    warp.blend_head.bias.data[1] = 200.0
    assert (drawn(warp, 0.4) - before)[:, :, INSIDE].abs().max() > 0.1


def test_a_larger_amplitude_moves_further() -> None:
    warp = network()
    warp.mesh_flow[0, 0] = -10 / SIZE
    warp.amplitude.fill_(2.0)
    wanted = reference(warp, 0, -8)
    torch.testing.assert_close(drawn(warp, 0.4)[0][:, INSIDE], wanted[:, INSIDE], atol=3e-3, rtol=0)


def test_it_moves_no_further_than_the_clip_has_shown() -> None:
    warp = network()
    warp.mesh_flow[0, 0] = -10 / SIZE
    warp.shown[1, 0] = 0.8
    assert torch.equal(drawn(warp, 0.8), drawn(warp, 30.0))
    assert not torch.equal(drawn(warp, 0.4), drawn(warp, 0.8))


@pytest.mark.parametrize("filling", [0.0, 1.0])
def test_nothing_leaks_from_the_hidden_area(filling: float) -> None:
    warp, noise = network(references=2), torch.Generator().manual_seed(2)
    warp.pose_weight.normal_(generator=noise)
    warp.mesh_flow.normal_(std=0.01, generator=noise)
    for parameter in warp.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    with torch.inference_mode():
        first = warp(crops(1), shapes(1.0))
        again = warp(torch.where(HIDDEN, filling, crops(1)), shapes(1.0))
    assert torch.equal(first[:, :, INSIDE], again[:, :, INSIDE])


def test_the_body_moves_a_reference_alone() -> None:
    """By what the visible part of the crop says of it, within what was shown."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        warp = GuidedWarpNet(WarpConfig(SIZE, **{**SMALL, "flows": 3}), SPEC).eval()
    fill(warp, 0.0)
    assert warp.mesh_flow.shape[0] == warp.metric.shape[0] == described_by(warp.config) == 23
    still = warp.guide(warp.mask_input(crops(2)), shapes(0.0, 0.0)).flows
    assert not still.any()
    warp.mesh_flow[-4, 0], warp.body_bias[0] = 1.0, 0.02
    moved = warp.guide(warp.mask_input(crops(2)), shapes(0.0, 0.0)).flows
    assert torch.allclose(moved[:, :, 0] * FLOW_REACH, torch.tensor(-0.02)) and not moved[:, :, 1].any()
    warp.shown[1, -4] = 0.01
    held = warp.guide(warp.mask_input(crops(2)), shapes(0.0, 0.0)).flows
    assert torch.allclose(held[:, :, 0] * FLOW_REACH, torch.tensor(-0.01))


def test_older_configurations_begin_at_no_movement() -> None:
    config = GeneratorConfig(MotionConfig(4), WarpConfig(SIZE, **SMALL), 5).to_dict()
    older = Generator(GeneratorConfig.from_dict(config), SPEC).warp
    assert type(older) is GuidedWarpNet and not hasattr(older, "body_weight")
    del config["warp"]["flows"]
    assert type(Generator(GeneratorConfig.from_dict(config), SPEC).warp) is WarpNet


def learning() -> GuidedWarpNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        warp = GuidedWarpNet(WarpConfig(SIZE, **{**SMALL, "flows": 4}), SPEC).eval()
    fill(warp, 0.0)
    return warp


def test_training_goes_on_from_what_the_mesh_says() -> None:
    """The gradient of a picture reaches the flow of every number that moves it, and how much nearness counts."""
    warp = learning()
    warp.reference_description[1:, 0] = 1.0
    warp.metric[0, 0] = 1.0
    drawn = warp(crops(2), shapes(1.0, 0.5))
    drawn[:, :, INSIDE].square().sum().backward()
    assert warp.learnt_flow.grad is not None and warp.learnt_flow.grad[0].abs().sum() > 0
    assert warp.learnt_nearness.grad is not None and warp.learnt_nearness.grad.abs().sum() > 0


def test_what_is_learnt_adds_to_the_flow_and_scales_nearness() -> None:
    warp, wanted = learning(), shapes(0.0)
    masked = warp.mask_input(crops(1))
    warp.reference_description[1, 0], warp.metric[0, 0] = 1.0, 1.0
    before = warp.guide(masked, wanted)
    with torch.no_grad():
        warp.learnt_flow[0, 1], warp.learnt_nearness[0, 0] = 2.0, 0.1
    after = warp.guide(masked, wanted)
    moved = (after.flows - before.flows)[0, 1] * FLOW_REACH
    assert torch.allclose(moved[1], torch.tensor(2 * FLOW_STEP)) and not moved[0].any()
    times = (after.logits / before.logits)[0, 1]
    assert float(times[0, 0]) == pytest.approx(math.exp(0.1 * NEARNESS_STEP)) and torch.allclose(
        times[1:], torch.tensor(1.0)
    )


def test_a_trembling_shape_counts_by_its_mean() -> None:
    warp = learning()
    masked = warp.mask_input(crops(1))
    trembling = torch.tensor([1.0, -2.0, 1.0])[None, :, None].expand(1, 3, warp.config.shape_width)
    assert not warp.description(masked, trembling)[:, 0].any()
    before = GuidedWarpNet(WarpConfig(SIZE, **{**SMALL, "flows": 3}), SPEC).eval()
    assert before.description(masked, trembling)[0, 0] == -2
