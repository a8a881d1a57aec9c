"""The compositor draws as the network does, leaves the caller's network alone, and lets go of what it reads."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from udh_core.avatar.folder import open_avatar
from udh_core.face.crop import CropSpec
from udh_core.inference import compositor as module
from udh_core.inference.compositor import Compositor, Run
from udh_core.models.checkpoint import open_generator
from udh_core.models.retrieval_warp import RetrievalWarpNet
from udh_core.models.tensors import to_input, to_uint8
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.playback import play, stretches
from udh_core.rendering.render import drawn_frames, render

SPEC = CropSpec(96)
NOWHERE = np.full((2, 2, 3), np.nan, np.float32)


@pytest.fixture
def network() -> WarpNet:
    torch.manual_seed(0)
    made = WarpNet(WarpConfig(96, references=2, widths=(8, 16), condition=16), SPEC)
    made.references.random_(0, 256)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made.eval()


def drawn_from() -> tuple[np.ndarray, torch.Tensor]:
    noise = np.random.default_rng(1)
    return noise.integers(0, 256, (3, 96, 96, 3), np.uint8), torch.from_numpy(noise.normal(size=(3, 3, 12))).float()


def test_draws_what_the_network_draws(network: WarpNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "autocast_dtype", lambda _: None)
    crops, shapes = drawn_from()
    with torch.inference_mode():
        wanted = to_uint8(network(to_input(crops), shapes))
    assert np.abs(wanted.astype(int) - crops).max() > 20  # it draws
    assert np.array_equal(Compositor(network, SPEC, NOWHERE).generate(crops, shapes), wanted)


def test_the_network_stays_as_it_is(network: WarpNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half precision, too; a second compositor is made of unrounded weights, and training goes on with them."""
    monkeypatch.setattr(module, "autocast_dtype", lambda _: torch.bfloat16)
    crops, shapes = drawn_from()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    first, second = (Compositor(network, SPEC, NOWHERE).generate(crops, shapes) for _ in range(2))
    assert np.array_equal(first, second)
    assert network.training
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype, name
        assert torch.equal(value, before[name]), name
    network(to_input(crops), shapes).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


class Walk(NamedTuple):
    """Nine frames whose mouths come near to several of a bank."""

    bank: RetrievalWarpNet
    frames: list[np.ndarray]  # (120, 130, 3) uint8
    shapes: torch.Tensor  # (9, 3, 12)
    places: np.ndarray  # (9, 2, 3)

    def compositor(self) -> Compositor:
        return Compositor(self.bank, SPEC, self.places)

    def part(self, start: int, stop: int) -> tuple[list[np.ndarray], range, torch.Tensor]:
        return self.frames[start:stop], range(start, stop), self.shapes[start:stop]


@pytest.fixture
def walk() -> Walk:
    torch.manual_seed(0)
    config = WarpConfig(96, references=40, per_frame=2, widths=(8, 16), condition=16)
    bank, noise = RetrievalWarpNet(config, SPEC), np.random.default_rng(1)
    bank.references.random_(0, 256)
    bank.bank_frames.copy_(100 * torch.arange(40))
    bank.reference_description[:, 0], bank.metric[0, 0] = 0.1 * torch.arange(40), 3.0
    frames = list(noise.integers(0, 256, (9, 120, 130, 3), np.uint8))
    shapes = torch.zeros(9, 3, 12)
    shapes[:, :, 0] = torch.tensor([0.5, 0.6, 1.9, 2.0, 2.1, 0.4, 3.4, 3.5, 3.6])[:, None]
    return Walk(bank, frames, shapes, np.tile(np.array([[1, 0, -9], [0, 1, -7]], np.float32), (9, 1, 1)))


def test_runs_are_cut_in_order_and_pasted_in_any(walk: Walk) -> None:
    """Several threads draw; what a frame is drawn from follows the frame before it all the same."""
    runs = [walk.part(k, k + 3) for k in (0, 3, 6)]
    whole, parts = walk.compositor(), walk.compositor()
    wanted = [picture for run in runs for picture in whole.composite(*run)]
    cuts = [parts.cut(*run) for run in runs]
    drawn = [parts.paste(run[0], run[1], cut) for run, cut in [*zip(runs, cuts, strict=True)][::-1]]
    assert np.array_equal(np.concatenate(drawn[::-1]), wanted)
    assert len(np.unique(np.concatenate([cut.chosen for cut in cuts])[:, 0])) > 1
    whole.rewind()
    again = whole.composite(*runs[0])
    assert np.array_equal(again, wanted[:3])


def test_several_runs_are_drawn_in_one_batch_as_each_by_itself(walk: Walk) -> None:
    """One goes forwards, one backwards, and one has no face."""
    forwards, backwards = range(9), range(8, -1, -1)
    wanted = []
    for order in (forwards, backwards):
        alone = walk.compositor()
        wanted.append([alone.composite(*walk.part(k, k + 1))[0] for k in order])
    together, runs = walk.compositor(), (Run(), Run())
    nothing = Compositor(walk.bank, SPEC, NOWHERE).cut(*walk.part(0, 1))
    mixed, chosen = Run(), []
    for k, pair in enumerate(zip(forwards, backwards, strict=True)):
        parts = [walk.part(n, n + 1) for n in pair]
        cuts = [together.cut(*part, run) for part, run in zip(parts, runs, strict=True)]
        chosen += [(cut.chosen, together.cut(*part, mixed).chosen) for part, cut in zip(parts, cuts, strict=True)]
        patches = together.patches([cuts[0], nothing, cuts[1]])
        assert [len(some) for some in patches] == [1, 0, 1]
        for part, cut, some, pictures in zip(parts, cuts, patches[::2], wanted, strict=True):
            drawn = together.paste_patches(part[0], part[1], cut, some)[0]
            assert np.abs(drawn.astype(int) - pictures[k]).max() <= 1
    assert any(not torch.equal(own, other) for own, other in chosen)  # one run for both would choose otherwise


def test_references_that_change_are_seen(network: WarpNet) -> None:
    crops, shapes = drawn_from()
    before = network(to_input(crops), shapes)
    with torch.inference_mode():  # where torch counts no versions
        network.references.fill_(200)
    assert not torch.allclose(network(to_input(crops), shapes), before, atol=1e-2)


@pytest.mark.parametrize("size", range(96, 513, 32))
def test_every_size_of_a_crop_can_be_drawn(size: int) -> None:
    network = WarpNet(WarpConfig(size, references=1, widths=(4, 4, 4, 4), condition=4), CropSpec(size)).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, size, size), torch.zeros(1, 3, 12)).shape == (1, 3, size, size)


def test_what_is_read_ahead_ends_with_an_error(person_avatar: Path, generator_file: Path) -> None:
    avatar, before = open_avatar(person_avatar), threading.active_count()
    network = open_generator(generator_file)[1].warp
    compositor = Compositor(network, avatar.crop, avatar.track().transforms)
    wrong = torch.zeros(100, 3, network.config.shape_width + 1)
    with pytest.raises(RuntimeError) as caught:
        list(drawn_frames([compositor], play(avatar, stretches(150, 100, "bounce")), [wrong], 4, np.zeros(150, bool)))
    assert caught.traceback  # held, and with it everything that its frames hold
    assert threading.active_count() == before


def test_frames_per_second_are_counted_from_the_first_frame(
    person_avatar: Path, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    begun_s = 0.0
    for step in render(open_avatar(person_avatar), generator_file, speech, tmp_path / "out.mp4", RenderOptions()):
        if step.stage == "features":
            assert step.detail == ""
            time.sleep(0.5)
            begun_s = time.monotonic()
        else:
            assert float(step.detail.split()[0]) >= step.done / (time.monotonic() - begun_s) - 0.1
    assert step.done == step.total == 50
