"""What is learnt and what is held out, seeded sampling, and the thread that fetches ahead."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.errors import NoFaceError
from udh_core.intervals import run_starts
from udh_core.models.generator import with_neighbours
from udh_core.models.tensors import autocast_dtype, interpolate_rows, to_input, to_uint8, training_dtype
from udh_core.prefetch import prefetch
from udh_core.training.references import choose_references
from udh_core.training.sampling import sample, sample_runs

SHOTS = np.repeat([1, 2, 3], [10, 4, 16])


@pytest.fixture(scope="module")
def data(person_avatar: Path) -> TrainingData:
    return load_training_data(open_avatar(person_avatar), "mel80", held_out=0.3)


# Learnt and held out


@pytest.mark.parametrize("held_out", [0.05, 0.1, 0.3])
def test_held_out_lies_behind_a_guard_gap(person_avatar: Path, held_out: float) -> None:
    data = load_training_data(open_avatar(person_avatar), "mel80", held_out)
    assert len(data.held_out) == pytest.approx(150 * held_out, abs=1)
    assert data.held_out[-1] == 149
    assert data.held_out[0] - data.train_frames[-1] > 25  # a second of neither
    assert len(data.train_frames) == 150 - len(data.held_out) - 25


def test_too_little_to_train_on(person_avatar: Path) -> None:
    with pytest.raises(NoFaceError, match="only 35 frames with a face to train on and 90 to validate on"):
        load_training_data(open_avatar(person_avatar), "mel80", held_out=0.6)


def test_feature_rows_at_frames(data: TrainingData) -> None:
    """Frame 0 lasts to 0.04 s; its middle lies between the rows that stand for 0.01–0.02 s and 0.02–0.03 s."""
    assert data.rate_hz == 100
    np.testing.assert_allclose(data.rows_at(np.array([0, 1, 25])), [1.5, 5.5, 101.5])


def test_points_are_mouth_shapes_of_every_frame(data: TrainingData) -> None:
    assert data.points.shape == (150, 53, 2)
    assert torch.isfinite(data.points).all()
    assert data.shots.tolist() == [1] * 150


def test_nothing_of_a_lost_frame_reaches_its_neighbours(person_avatar: Path, tmp_path: Path) -> None:
    root, lost = shutil.copytree(person_avatar, tmp_path / "person"), slice(40, 52)
    track = open_avatar(root).track()
    for rows in (track.landmarks, track.transforms, crops := np.load(root / "crops.npy", mmap_mode="r+")):
        rows[lost] = 0 if rows is crops else np.nan
    track.valid[lost] = False
    np.savez(root / "track.npz", **vars(track))
    whole, found = (load_training_data(open_avatar(folder), "mel80") for folder in (person_avatar, root))
    assert np.array_equal(np.setdiff1d(whole.train_frames, found.train_frames), np.arange(40, 52))
    beside = [36, 38, 39, 52, 53, 55]
    assert (found.pose - whole.pose)[beside, :2].abs().max() < 0.4  # one-sided means of a nodding head
    assert torch.isfinite(found.points).all() and torch.isfinite(found.pose).all()
    told = with_neighbours(torch.arange(150.0)[:, None], 5, found.shots)[..., 0]
    assert not np.isin(told[found.train_frames], np.arange(40, 52)).any()


@pytest.mark.parametrize(("major", "training"), [(7, None), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_half_precision_in_training_is_native_bfloat16_or_none(
    monkeypatch: pytest.MonkeyPatch, major: int, training: torch.dtype | None
) -> None:
    """Before Ampere bfloat16 is emulated, and float16 is for finished networks only."""
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or (major, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    second = torch.device("cuda:1")
    assert training_dtype(second) is training
    assert autocast_dtype(second) is (training or torch.float16)
    assert set(asked) == {second}


@pytest.mark.parametrize(
    ("has", "training", "drawing"), [("", None, None), ("avx512_bf16", 1, None), ("amx_tile", 1, 1)]
)
def test_a_processor_multiplies_in_bfloat16_where_that_pays(
    monkeypatch: pytest.MonkeyPatch, has: str, training: int | None, drawing: int | None
) -> None:
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name == has)
    half = {None: None, 1: torch.bfloat16}
    processor = torch.device("cpu")
    assert (training_dtype(processor), autocast_dtype(processor)) == (half[training], half[drawing])


# Sampling


def test_sample_is_seeded() -> None:
    frames = np.arange(100, 400)
    assert np.array_equal(sample(frames, 16, 5, 70), sample(frames, 16, 5, 70))
    assert not np.array_equal(sample(frames, 16, 5, 70), sample(frames, 16, 5, 71))
    assert not np.array_equal(sample(frames, 16, 5, 70), sample(frames, 16, 6, 70))


def test_sample_takes_different_frames_while_there_are_enough() -> None:
    frames = np.arange(20) * 3
    drawn = sample(frames, 20, 0, 0)
    assert np.array_equal(drawn, frames)
    assert len(sample(frames[:4], 10, 0, 0)) == 10
    assert set(sample(frames[:4], 10, 0, 0)) <= set(frames[:4])


def test_samples_reach_every_frame() -> None:
    frames = np.arange(50)
    assert set(np.concatenate([sample(frames, 8, 0, step) for step in range(100)])) == set(range(50))


def test_runs_never_cross_a_cut() -> None:
    frames = np.arange(30)
    starts = run_starts(frames, SHOTS, 5)
    assert starts.tolist() == [*range(6), *range(14, 26)]  # the shot of four frames holds no run of five


def test_runs_never_jump_over_a_missing_frame() -> None:
    frames = np.delete(np.arange(30), [17, 20])
    assert run_starts(frames, SHOTS, 5).tolist() == [*range(6), *range(21, 26)]
    assert run_starts(frames[:3], SHOTS, 5).tolist() == []


def test_sampled_runs_are_consecutive_frames_of_one_shot() -> None:
    frames = np.delete(np.arange(30), [17, 20])
    runs = sample_runs(frames, SHOTS, 4, 64, seed=1, step=2)
    assert (np.diff(runs, axis=1) == 1).all()
    assert (SHOTS[runs] == SHOTS[runs[:, :1]]).all()
    assert np.isin(runs, frames).all()
    assert np.array_equal(runs, sample_runs(frames, SHOTS, 4, 64, seed=1, step=2))


def test_references_are_learnt_frames_and_seeded(data: TrainingData) -> None:
    chosen = choose_references(data, 8, seed=0)
    assert len(set(chosen.tolist())) == 8
    assert np.array_equal(chosen, np.sort(chosen))
    assert np.isin(chosen, data.train_frames).all()
    assert np.array_equal(chosen, choose_references(data, 8, seed=0))


def test_references_show_shut_and_open_mouths(data: TrainingData) -> None:
    from udh_core.face.mouth import mouth_opening

    openings = mouth_opening(data.landmarks)
    chosen = openings[choose_references(data, 8, seed=0)]
    assert np.ptp(chosen) > 0.6 * np.ptp(openings[data.train_frames])


# Between bytes and tensors


def test_every_byte_survives_the_networks_format() -> None:
    crops = np.resize(np.arange(256, dtype=np.uint8), (2, 16, 16, 3))
    images = to_input(crops)
    assert (images.shape, images.dtype) == ((2, 3, 16, 16), torch.float32)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert np.array_equal(to_uint8(images), crops)


def test_values_out_of_range_are_clipped() -> None:
    images = torch.tensor([-0.5, 0.5, 1.5])[None, :, None, None].expand(1, 3, 2, 2)
    assert to_uint8(images)[0, 0, 0].tolist() == [0, 128, 255]


def test_interpolate_rows() -> None:
    values = torch.tensor([[[0.0, 5.0], [10.0, 5.0], [30.0, -5.0]]])
    rows = torch.tensor([[0.0, 0.25, 1.5, 2.0, -3.0, 99.0]])
    expected = [[0, 5], [2.5, 5], [20, 0], [30, -5], [0, 5], [30, -5]]
    torch.testing.assert_close(interpolate_rows(values, rows)[0], torch.tensor(expected, dtype=torch.float32))


def test_interpolate_a_single_row() -> None:
    values = torch.tensor([[[7.0]], [[9.0]]])
    assert interpolate_rows(values, torch.tensor([[0.0, 0.7], [-1.0, 3.0]])).flatten().tolist() == [7, 7, 9, 9]


# Fetching ahead


def test_prefetch_keeps_the_order() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))
    assert list(prefetch([])) == []


def test_prefetch_raises_the_producers_error_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise NoFaceError("frame 3")

    items = prefetch(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(NoFaceError, match="frame 3"):
        next(items)


def test_prefetch_raises_when_the_source_cannot_even_begin() -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise NoFaceError("at once")

    with pytest.raises(NoFaceError, match="at once"):
        next(prefetch(Broken()))


def test_prefetch_runs_only_so_far_ahead() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for i in count():
            made.append(i)
            yield i

    items = prefetch(source(), depth=3)
    assert next(items) == 0
    time.sleep(0.2)
    assert 4 <= len(made) <= 5  # one handed over, three waiting, one in hand
    items.close()


def test_closing_stops_the_thread_and_the_source() -> None:
    before = threading.active_count()
    closed: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.append(threading.current_thread().name)

    items = prefetch(source())
    assert next(items) == 0
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before
    assert len(closed) == 1 and closed != [threading.current_thread().name]


def test_an_error_in_the_consumer_stops_the_thread() -> None:
    before = threading.active_count()
    items = prefetch(count())
    with pytest.raises(ZeroDivisionError):
        for item in items:
            1 / item
    items.close()
    assert threading.active_count() == before
