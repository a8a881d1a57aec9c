"""The bank of crops of a clip, and a training, a render and a bundle that draw from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import open_avatar
from udh_core.errors import OptionError
from udh_core.export.bundle import export_bundle, open_bundle
from udh_core.face.crop import in_crop
from udh_core.face.topology import INNER_LIP_BOTTOM, MOUTH_EXTENT
from udh_core.inference.compositor import Compositor
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.guided_warp import describe
from udh_core.models.motion import MotionConfig
from udh_core.models.retrieval_warp import APART, RetrievalWarpNet
from udh_core.models.warping import WarpConfig
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.training.bank import fit_bank
from udh_core.training.generator import BANK, GeneratorRun
from udh_core.training.guide import spread_frames
from udh_core.training.options import GeneratorOptions

OPTIONS = GeneratorOptions(steps=1, motion_steps=1, batch=2, model_size="small", drawn_from="bank")


@pytest.fixture(scope="module")
def shapes(training_data: TrainingData) -> torch.Tensor:
    """(N, 12) of all frames."""
    config = GeneratorConfig(MotionConfig(80), WarpConfig(96, widths=(8,)), training_data.points.shape[1])
    generator = Generator(config, training_data.avatar.crop)
    generator.fit_shape_space(training_data.points[training_data.train_frames])
    return generator.encode_shapes(training_data.points)


@pytest.fixture(scope="module")
def bank(training_data: TrainingData, shapes: torch.Tensor) -> RetrievalWarpNet:
    made = RetrievalWarpNet(WarpConfig(96, references=30, per_frame=3, widths=(8,)), training_data.avatar.crop)
    fit_bank(made, training_data, shapes, seed=0)
    return made.eval()


def test_it_holds_crops_that_are_trained_on(bank: RetrievalWarpNet, training_data: TrainingData) -> None:
    frames = bank.bank_frames.numpy()
    assert np.isin(frames, training_data.train_frames).all()
    assert (np.diff(frames) > 0).all()
    assert np.array_equal(bank.references.permute(0, 2, 3, 1).numpy(), training_data.crops[frames])


def test_1_is_a_typical_distance(bank: RetrievalWarpNet, training_data: TrainingData, shapes: torch.Tensor) -> None:
    places = describe(shapes, training_data.pose) @ bank.metric
    train = training_data.train_frames
    some = torch.from_numpy(spread_frames(train, places[train].numpy(), min(128, len(train)), seed=0))
    near = (some[:, None] - some[None]).abs() < APART
    nearest = torch.cdist(places[some], places[some]).square().masked_fill(near, torch.inf).min(1).values
    assert float(nearest.median()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("places", [np.zeros((50, 2)), np.repeat(np.eye(3, 2), 20, axis=0)])
def test_pictures_that_are_alike_are_spread_over_time(places: np.ndarray) -> None:
    spread = spread_frames(np.arange(100, 100 + len(places)), places, 10, seed=0)
    assert len(np.unique(spread)) == 10
    assert (spread[0], spread[-1]) == (100, 99 + len(places))


def test_lips_are_where_nothing_is_blended(bank: RetrievalWarpNet, training_data: TrainingData) -> None:
    frames = training_data.train_frames
    places = in_crop(training_data.landmarks[frames][:, MOUTH_EXTENT], training_data.transforms[frames])
    rows, columns = bank.box
    cells = (places - [columns.start, rows.start]) / bank.config.stride
    x, y = np.moveaxis(cells.astype(int), -1, 0)
    assert np.mean(bank.lips[0, 0].numpy()[y, x] > 0.8) > 0.98
    assert float(bank.lips.mean()) < 0.6


def test_the_flow_leads_to_where_a_reference_has_its_lower_lip(
    bank: RetrievalWarpNet, training_data: TrainingData, shapes: torch.Tensor
) -> None:
    """From the ten highest places of it to the ten lowest."""
    descriptions, frames = describe(shapes, training_data.pose), training_data.train_frames
    lip = in_crop(training_data.landmarks[frames][:, [INNER_LIP_BOTTOM]], training_data.transforms[frames])[:, 0]
    order = lip[:, 1].argsort()
    shut, wide = order[:10], order[-10:]
    moved = descriptions[frames[wide]] - descriptions[frames[shut]]
    flow = torch.einsum("bd,dxhw->bxhw", moved, bank.mesh_flow).numpy() * bank.config.size
    rows, columns = bank.box
    x, y = ((lip[shut] - [columns.start, rows.start]) / bank.config.stride).astype(int).T
    assert (lip[wide] - lip[shut])[:, 1].min() > 3
    missed = flow[np.arange(10), :, y, x] - (lip[wide] - lip[shut])
    assert np.abs(missed).mean() < 0.15 * (lip[wide] - lip[shut])[:, 1].mean()


@pytest.fixture(scope="module")
def trained(training_data: TrainingData, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that draws from a bank and has hardly been trained."""
    out = tmp_path_factory.mktemp("bank") / "g.safetensors"
    run = GeneratorRun(training_data, out, OPTIONS, "mel80", models=models)
    for _ in run.train():
        pass
    return out


def test_a_render_and_a_bundle_draw_from_it(person_avatar: Path, trained: Path, speech: Path, tmp_path: Path) -> None:
    avatar, (info, generator) = open_avatar(person_avatar), open_generator(trained)
    assert info.config["options"]["drawn_from"] == "bank"
    assert len(generator.warp.references) == min(BANK, len(generator.warp.bank_frames)) > 4
    assert generator.warp.bank_frames.dtype == torch.int64
    render(avatar, trained, speech, tmp_path / "own.mp4").run()
    own, before = (
        np.stack(list(read_frames(path, count=50))).astype(int) for path in (tmp_path / "own.mp4", avatar.video)
    )
    assert own.shape == before.shape
    assert np.abs(own - before).max() > 40  # it draws
    export_bundle(avatar, trained, tmp_path / "b.safetensors").run()
    bundled = open_generator(open_bundle(tmp_path / "b.safetensors", tmp_path / "unpacked").generator)[1]
    crops, shapes = avatar.crops()[:8], torch.randn(8, 3, 12, generator=torch.Generator().manual_seed(0))
    first, second = (
        Compositor(one.warp, avatar.crop, avatar.track().transforms).generate(crops, shapes).astype(int)
        for one in (generator, bundled)
    )
    assert np.abs(first - second).mean() < 0.1
    export_bundle(avatar, trained, tmp_path / "part.safetensors", start_s=1.0, duration_s=1.0).run()
    part = open_generator(open_bundle(tmp_path / "part.safetensors", tmp_path / "part").generator)[1]
    first_frame = round(float(avatar.info.fps))
    assert torch.equal(part.warp.bank_frames, generator.warp.bank_frames - first_frame)


def test_it_is_not_compiled(person_avatar: Path, trained: Path, speech: Path, tmp_path: Path) -> None:
    """In one line, before any work."""
    steps = iter(render(open_avatar(person_avatar), trained, speech, tmp_path / "o.mp4", RenderOptions(compiled=True)))
    with pytest.raises(OptionError, match=r"draws from a bank cannot be compiled; render it without compiling$"):
        next(steps)
