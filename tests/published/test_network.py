"""The published network, number for number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from making import both, example, network
from needs import unavailable
from torch.utils.flop_counter import FlopCounterMode

from udh_core.published.unet import PublishedUNet

LISTINGS = Path(__file__).resolve().parents[3] / "shared" / "reference"


@both
def test_names_and_shapes_are_the_published_ones(variant: str) -> None:
    path = LISTINGS / f"ultralight_unet_{variant}_keys.json"
    if not path.is_file():
        unavailable(f"the published listings are not beside the checkout ({LISTINGS.parent.name}/{LISTINGS.name})")
    own = {name: list(tensor.shape) for name, tensor in PublishedUNet(variant).state_dict().items()}
    assert own == json.loads(path.read_text(encoding="utf-8"))


def test_parameters_and_work_are_the_published_ones() -> None:
    made = network()
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(12.16, abs=0.005)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(*example())
    assert counter.get_total_flops() / 2e9 == pytest.approx(3.16, abs=0.005)


@both
def test_every_input_reaches_every_picture_of_its_own(variant: str) -> None:
    made, (images, audio) = network(variant), example(variant, 2)
    with torch.no_grad():
        drawn = made(images, audio)
        other_sound = made(images, torch.cat([audio[:1], audio[1:] + 1]))
    assert drawn.shape == (2, 3, 160, 160)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1
    torch.testing.assert_close(other_sound[0], drawn[0])
    assert not torch.allclose(other_sound[1], drawn[1], atol=1e-3)
