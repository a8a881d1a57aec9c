"""The figures of an evaluation on mouths built to deserve them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError
from udh_core.evaluation.bench import Bench
from udh_core.evaluation.result import Row
from udh_core.face import crop as crop_module
from udh_core.inference.sync_scorer import AudioSegment, open_syncnet
from udh_core.media.video import VideoWriter, read_frames
from udh_core.models.checkpoint import open_generator
from udh_core.training.generator import GeneratorOptions, train_generator

TALL, WIDE = 1080, 1920
WORDS = "start_s\tend_s\tword\n45.0\t45.3\tblue\n46.0\t46.2\tagain\n48.0\t48.3\tPlease\n"


@pytest.fixture(scope="module")
def bench(real_minute: Path, real_syncnet: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    avatar = open_avatar(real_minute)
    for _ in train_generator(avatar, folder / "g.safetensors", GeneratorOptions(steps=1, motion_steps=1, batch=2)):
        pass
    (folder / "words.tsv").write_text(WORDS)
    data = load_training_data(avatar, "whisper-tiny", 0.3)
    _, generator = open_generator(folder / "g.safetensors")
    return Bench(data, generator, open_syncnet(real_syncnet), models, 200, folder / "words.tsv")


@pytest.fixture(scope="module")
def measured(bench: Bench):
    """Figures of the real crops, changed by a function of them."""

    def measure(name: str, change=lambda crops: crops) -> dict[str, float]:
        crops = change(bench.real)
        bench.measure(name, Row(crops, bench.frames, AudioSegment.own(bench.data, bench.frames)))
        return bench.figures[name]

    return measure


def within_mask(bench: Bench, crops: np.ndarray, changed: np.ndarray) -> np.ndarray:
    return np.where(bench.weight[None, :, :, None], changed, crops).astype(np.uint8)


def test_identical_mouths(measured) -> None:
    found = measured("real")
    for name in ("opening_correlation", "opening_std_ratio", "sharpness_ratio", "seam_ratio", "skin_jitter_ratio"):
        assert found[name] == pytest.approx(1), name
    for name in ("lmd", "lpips", "colour_drift", "closure_gap", "sync_offset"):
        assert found[name] == pytest.approx(0, abs=1e-6), name
    assert found["ssim"] == pytest.approx(1)
    assert found["psnr_db"] > 99


@pytest.mark.parametrize("late", [-4, 6])
def test_shifted_mouths(bench, measured, late: int) -> None:
    """Mouths that come `late` frames too late: their sound came earlier."""
    real, found = measured("real"), measured(f"shifted {late}", lambda crops: np.roll(crops, late, axis=0))
    assert found["sync_offset"] == -late
    assert found["opening_correlation"] < 0.8
    assert found["lmd"] > 0.01
    assert found["psnr_db"] < 40
    assert found["lse_c"] == pytest.approx(real["lse_c"], rel=0.25)  # in sync, elsewhere


def test_blurred_mouths(bench, measured) -> None:
    blurred = np.stack([cv2.GaussianBlur(crop, None, 1.5) for crop in bench.real])
    found = measured("blurred", lambda crops: within_mask(bench, crops, blurred))
    assert found["sharpness_ratio"] < 0.4
    assert found["lpips"] > 0.01
    assert found["opening_correlation"] > 0.95
    assert found["colour_drift"] < 0.5
    assert found["sync_offset"] == 0


def test_frozen_mouth(bench, measured) -> None:
    found = measured("frozen", lambda crops: within_mask(bench, crops, crops[:1].repeat(len(crops), 0)))
    assert found["opening_std_ratio"] < 0.35  # what is left is the head's own motion under a still patch
    assert found["skin_jitter_ratio"] < 0.1
    assert found["lse_c"] < measured("real")["lse_c"] / 2


def test_mouth_that_never_shuts(bench, measured) -> None:
    """The widest mouth of all on every p, b and m."""
    widest = int(bench.points["real"][0].argmax())
    found = measured("open", lambda crops: within_mask(bench, crops, crops[[widest]].repeat(len(crops), 0)))
    assert found["closure_gap"] > 0.5


def test_other_colour_makes_drift_and_seam(bench, measured) -> None:
    found = measured(
        "reddish", lambda crops: within_mask(bench, crops, np.clip(crops + np.array([60.0, 0, 0]), 0, 255))
    )
    assert found["colour_drift"] > 5
    assert found["opening_correlation"] > 0.9


def test_hard_edge_is_a_seam(bench, measured) -> None:
    inside = (bench.alpha > 0.1)[None, :, :, None]
    found = measured("edge", lambda crops: np.where(inside, crops // 2, crops))
    assert found["seam_ratio"] > 1.5


def test_noise_is_jitter(bench, measured) -> None:
    noise = np.random.default_rng(0).normal(0, 12, bench.real.shape)
    found = measured("noise", lambda crops: within_mask(bench, crops, np.clip(crops + noise, 0, 255)))
    assert found["skin_jitter_ratio"] > 1.5
    assert found["sharpness_ratio"] > 1.2


@pytest.fixture(scope="module")
def in_a_large_picture(person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in person's avatar, the same face in the midst of a picture of 1920×1080."""
    avatar, root = open_avatar(person_avatar), tmp_path_factory.mktemp("large") / "avatar"
    shutil.copytree(person_avatar, root)
    left, top = (WIDE - avatar.info.width) // 2, (TALL - avatar.info.height) // 2
    with VideoWriter(root / "video.mp4", width=WIDE, height=TALL, fps=avatar.info.fps, crf=0) as writer:
        for frame in read_frames(avatar.video):
            large = np.zeros((TALL, WIDE, 3), np.uint8)
            large[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
            writer.write(large)
    track, state = avatar.track(), json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    transforms = np.stack([crop_module.seen_from(t, np.array([-left, -top])) for t in track.transforms])
    moved = replace(
        track, landmarks=track.landmarks + np.float32([left, top]), transforms=transforms.astype(np.float32)
    )
    np.savez(root / "track.npz", **asdict(moved))
    state["video"] |= {"width": WIDE, "height": TALL}
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    return root


def test_the_size_of_the_picture_does_not_matter(person_avatar, in_a_large_picture, generator_file, models, figure):
    """Neither for the figures, nor for what is kept in memory."""
    found, openings, kept = [], [], []
    for root in (person_avatar, in_a_large_picture):
        bench = Bench(
            load_training_data(open_avatar(root), "mel80"), open_generator(generator_file)[1], None, models, 300, None
        )
        for name, row in bench.yardsticks().items():
            bench.measure(name, row)
        found.append(bench.figures)
        openings.append({name: opening for name, (opening, _) in bench.points.items()})
        assert all(source.pixels.base is None for source in bench.sources.values())
        kept.append(sum(source.pixels.nbytes for source in bench.sources.values()))
    figure(f"kept of the frames: {kept[0] / 1e6:.1f} MB of 512², {kept[1] / 1e6:.1f} MB of {WIDE}×{TALL}")
    assert kept[1] < 1.8 * kept[0]  # black beside a person who fills the picture is seen, too
    assert kept[1] < 0.15 * TALL * WIDE * 3 * len(bench.frames)
    for name, figures in found[0].items():
        assert found[1][name] == pytest.approx(figures, rel=0.03, abs=0.01), name
        np.testing.assert_allclose(openings[1][name], openings[0][name], atol=2e-4)


def test_words_that_begin_with_closed_lips(bench) -> None:
    assert bench.bilabials.tolist() == [45.0, 48.0]


@pytest.mark.parametrize("text", ["word,start_s\nblue,1.0\n", "start_s\tword\nsoon\tblue\n", "start_s\tword\n1.0\n"])
def test_a_table_that_is_none_is_refused(bench, models, tmp_path, text: str) -> None:
    path = tmp_path / "words.tsv"
    path.write_text(text)
    with pytest.raises(FormatError, match="not a table of tab-separated columns start_s, end_s and word"):
        Bench(bench.data, bench.generator, None, models, 10, path)
