"""A device without memory for a batch: smaller parts with the same result, at last the CPU, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import children
import numpy as np
import pytest
import torch
from machine import Made
from torch import Tensor

from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.inference.compositor import Compositor
from udh_core.models.checkpoint import open_generator
from udh_core.models.guided_warp import GuidedWarpNet
from udh_core.models.memory import BatchLimit
from udh_core.models.warping import WarpNet
from udh_core.training.generator import GeneratorRun
from udh_core.training.loop import Schedule
from udh_core.training.syncnet import SyncNetRun
from udh_core.training.warp import WarpTraining

CPU = torch.device("cpu")
DEVICE = torch.device("cpu", 0)  # computes like the CPU, and is another device by name


class Crowded(GuidedWarpNet):
    """A network on a device that has memory for `most` crops."""

    most: Callable[[], int]
    drawn: list[int]

    def draw(self, crops: Tensor, *others: Tensor) -> Tensor:
        if len(crops) > self.most():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.drawn.append(len(crops))
        return super().draw(crops, *others)


def crowd(network: WarpNet, most: Callable[[], int]) -> list[int]:
    """Make a network one on a crowded device; the sizes of the batches that it draws."""
    drawn: list[int] = []
    network.__class__ = Crowded
    network.most, network.drawn = most, drawn  # type: ignore[attr-defined]
    return drawn


@pytest.fixture(scope="module")
def batch(made: Made) -> tuple[np.ndarray, Tensor]:
    """Seven crops and shapes."""
    shapes = torch.randn(7, 3, 12, generator=torch.Generator().manual_seed(0))
    return open_avatar(made.avatar).crops()[:7], shapes


def compositor_of(made: Made, most: Callable[[], int] | None) -> tuple[Compositor, list[int]]:
    info, generator = open_generator(made.generator)
    compositor = Compositor(generator.warp, info.crop, open_avatar(made.avatar).track().transforms)
    drawn = [] if most is None else crowd(compositor._network, most)
    compositor._draw = compositor._network.draw
    return compositor, drawn


def test_smaller_parts_draw_the_same(made: Made, batch, caplog: pytest.LogCaptureFixture) -> None:
    whole = compositor_of(made, None)[0].generate(*batch)
    compositor, drawn = compositor_of(made, lambda: 2)
    found = compositor.generate(*batch)
    assert np.abs(found.astype(int) - whole).max() <= 1
    assert drawn == [2, 2, 2, 1]
    assert compositor.generate(*batch).shape == found.shape
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"cpu has no memory for {n} crops at a time; going on with {m}" for n, m in ((7, 4), (4, 2))]


def test_at_last_the_cpu(made: Made, batch, caplog: pytest.LogCaptureFixture) -> None:
    whole = compositor_of(made, None)[0].generate(*batch)
    compositor, drawn = compositor_of(made, lambda: 99 if compositor.limit.device == CPU else 0)
    compositor.limit.device = DEVICE
    assert np.abs(compositor.generate(*batch).astype(int) - whole).max() <= 1
    assert drawn == [7]
    assert "has no memory for one of the crops; going on, slowly, on the CPU" in caplog.records[-1].getMessage()


def test_nothing_is_left_to_try(made: Made, batch) -> None:
    compositor, _ = compositor_of(made, lambda: 0)
    with pytest.raises(RuntimeError, match="out of memory: there is not enough for one of the crops"):
        compositor.generate(*batch)


def test_another_error_is_not_taken_for_it(made: Made, batch) -> None:
    compositor, _ = compositor_of(made, None)
    with pytest.raises(RuntimeError, match="shapes"):
        compositor.generate(batch[0], batch[1][:, :, :5])
    assert compositor.limit.device == CPU


def test_the_parts_of_a_batch() -> None:
    limit = BatchLimit(DEVICE, "crops")
    assert list(limit.parts(5)) == [slice(0, 5)]
    assert limit.lower(5) is False
    assert list(limit.parts(5)) == [slice(0, 3), slice(3, 5)]
    assert [limit.lower(5) for _ in range(3)] == [False, False, True]
    assert list(limit.parts(5)) == [slice(0, 5)]
    assert limit.device == CPU


# Training


@pytest.fixture(scope="module")
def data(made: Made) -> TrainingData:
    return load_training_data(open_avatar(made.avatar), "mel80")


@pytest.fixture
def training(data: TrainingData, models: Path, tmp_path: Path) -> Callable[[], WarpTraining]:
    """Makes the training of a warp network, always the same."""

    def begin() -> WarpTraining:
        run = GeneratorRun(data, tmp_path / "g.safetensors", children.TRAIN, "mel80", models=models)
        for _ in run.fit():
            pass
        return run.warp_training()

    return begin


def steps(training: WarpTraining, count: int) -> list[float]:
    schedule = Schedule(10, None)
    return [training.step(*training.draw_batch(k, 0.0), schedule)["loss"] for k in range(count)]


def test_a_gradient_in_parts_is_the_gradient(training, caplog: pytest.LogCaptureFixture) -> None:
    whole, crowded = training(), training()
    drawn = crowd(crowded.warp, lambda: 1)
    assert steps(crowded, 2) == pytest.approx(steps(whole, 2), rel=1e-4)
    assert drawn == [1] * 4
    assert caplog.records[-1].getMessage() == "cpu has no memory for 2 crops at a time; going on with 1"


def test_training_goes_on_on_the_cpu(training, caplog: pytest.LogCaptureFixture) -> None:
    whole, crowded = training(), training()
    crowded.device = crowded.limit.device = DEVICE
    drawn = crowd(crowded.warp, lambda: 99 if crowded.limit.device == CPU else 0)
    assert steps(crowded, 2) == pytest.approx(steps(whole, 2), rel=1e-4)
    assert drawn == [2, 2]
    assert crowded.device == CPU
    assert "going on, slowly, on the CPU" in caplog.records[-1].getMessage()


def test_a_syncnet_goes_on_on_the_cpu(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, same = (SyncNetRun([data], tmp_path / "s.safetensors", children.TRAIN_SYNCNET, "mel80", CPU) for _ in range(2))
    run.device = run.limit.device = DEVICE
    embed = run.network.embed_mouths

    def crowded(mouths: Tensor) -> Tensor:
        if run.device != CPU:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return embed(mouths)

    monkeypatch.setattr(run.network, "embed_mouths", crowded)
    assert run.step(Schedule(6, None)) == same.step(Schedule(6, None))
    assert "going on, slowly, on the CPU" in caplog.records[-1].getMessage()
