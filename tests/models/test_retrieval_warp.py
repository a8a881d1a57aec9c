"""A network that draws from a bank of crops: which it takes, where it puts them, what must never enter."""

from __future__ import annotations

import pytest
import torch
from warps import HIDDEN, INSIDE, SIZE, SPEC, crops, fill, shapes

from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.guided_warp import described_by
from udh_core.models.motion import MotionConfig
from udh_core.models.retrieval_warp import APART, LIPS_TEMPERATURE, RetrievalWarpNet
from udh_core.models.warping import WarpConfig, WarpNet

SMALL = {"widths": (8, 12), "condition": 16}


def network(bank: int = 6, per_frame: int = 1) -> RetrievalWarpNet:
    """Untrained: it draws what the mesh says, and the mesh does not move yet. Picture k has k as its first number."""
    made = RetrievalWarpNet(WarpConfig(SIZE, references=bank, per_frame=per_frame, **SMALL), SPEC).eval()
    fill(made, apart=1.0)
    made.bank_frames.copy_(100 * torch.arange(bank))
    return made


def test_the_nearest_pictures_are_taken_but_none_next_to_the_edited_frame() -> None:
    bank = network(per_frame=2)
    assert bank.choose(crops(2), shapes(3.9, 0.2)).tolist() == [[4, 3], [0, 1]]
    edited = torch.tensor([400 + APART - 1, 0 + APART])
    assert bank.choose(crops(2), shapes(3.9, 0.2), edited).tolist() == [[3, 5], [0, 1]]


def test_untrained_it_draws_the_nearest_picture_as_it_is() -> None:
    bank = network()
    with torch.inference_mode():
        drawn = bank(crops(2), shapes(2.0, 5.0))
    wanted = bank.references[[2, 5]].float() / 255
    torch.testing.assert_close(drawn[:, :, INSIDE], wanted[:, :, INSIDE], atol=2e-3, rtol=0)
    assert torch.equal(drawn[:, :, ~HIDDEN], crops(2)[:, :, ~HIDDEN])


def test_the_mesh_moves_it() -> None:
    """A first number larger by 0.4 than that of the picture: 4 px further left."""
    bank = network()
    bank.mesh_flow[0, 0] = -10 / SIZE
    with torch.inference_mode():
        drawn = bank(crops(1), shapes(2.4))[0]
    moved = torch.roll(bank.references[2].float() / 255, -4, dims=2)
    torch.testing.assert_close(drawn[:, INSIDE], moved[:, INSIDE], atol=2e-3, rtol=0)


def test_at_the_lips_the_nearest_alone_is_drawn() -> None:
    """Whatever the network would mix there; two that are equally near are mixed while one follows the other."""
    bank = network(per_frame=3)
    bank.lips.fill_(1.0)
    bank.blend_head.bias.data = torch.tensor([0.0, 9.0, 0.0])
    apart = 4 * LIPS_TEMPERATURE  # (0.5 + x)² - (0.5 - x)² = 2x
    with torch.inference_mode():
        near, between = bank(crops(2), shapes(2.5 - apart, 2.5))
        bank.lips.zero_()
        mixed = bank(crops(1), shapes(2.5 - apart))[0]
    two, three = bank.references[[2, 3]].float() / 255
    torch.testing.assert_close(near[:, INSIDE], two[:, INSIDE], atol=4e-3, rtol=0)
    torch.testing.assert_close(between[:, INSIDE], (two + three)[:, INSIDE] / 2, atol=4e-3, rtol=0)
    torch.testing.assert_close(mixed[:, INSIDE], three[:, INSIDE], atol=4e-3, rtol=0)


def test_a_larger_amplitude_takes_other_pictures() -> None:
    bank = network()
    bank.amplitude.fill_(1.4)
    assert bank.choose(crops(1), shapes(3.0)).tolist() == [[4]]
    assert bank.train().choose(crops(1), shapes(3.0)).tolist() == [[3]]


@pytest.mark.parametrize("filling", [0.0, 1.0])
def test_nothing_leaks_from_the_hidden_area(filling: float) -> None:
    bank = network(per_frame=3)
    for parameter in bank.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    with torch.inference_mode():
        first = bank(crops(1), shapes(1.0))
        again = bank(torch.where(HIDDEN, filling, crops(1)), shapes(1.0))
    assert torch.equal(first[:, :, INSIDE], again[:, :, INSIDE])


def test_a_generator_is_built_as_its_configuration_says() -> None:
    plain = GeneratorConfig(MotionConfig(4), WarpConfig(SIZE, **SMALL), 5)
    bank = GeneratorConfig(MotionConfig(4), WarpConfig(SIZE, references=9, per_frame=3, **SMALL), 5)
    assert type(Generator(plain, SPEC).warp) is WarpNet
    again = Generator(GeneratorConfig.from_dict(bank.to_dict()), SPEC).warp
    assert isinstance(again, RetrievalWarpNet)
    assert again.reference_description.shape == (9, described_by(again.config))


def test_older_configurations_draw_from_all_references() -> None:
    older = {name: value for name, value in WarpConfig(SIZE, references=8).to_dict().items() if name != "per_frame"}
    assert not WarpConfig.from_dict(older).retrieves
