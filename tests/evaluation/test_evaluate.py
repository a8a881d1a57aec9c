"""The figures of an evaluation on mouths built to deserve them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError
from udh_core.evaluation.bench import Bench, Measured, baselines, open_bench
from udh_core.evaluation.drivers import own_audio
from udh_core.evaluation.evaluate import evaluate
from udh_core.evaluation.held_out import hold_out
from udh_core.evaluation.mouth_metrics import read_bilabials
from udh_core.evaluation.result import GENERATED, REAL, ROWS, SILENCE, SILENCE_PREDICTED, Row
from udh_core.face import crop as crop_module
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.media.video import VideoWriter, read_frames
from udh_core.models.checkpoint import open_generator, save_generator
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions

TALL, WIDE = 1080, 1920
WORDS = "start_s\tend_s\tword\n45.0\t45.3\tblue\n46.0\t46.2\tagain\n48.0\t48.3\tPlease\n"


@pytest.fixture(scope="module")
def bench(real_minute: Path, real_syncnet: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    avatar = open_avatar(real_minute)
    for _ in train_generator(
        avatar, folder / "g.safetensors", GeneratorOptions(steps=1, motion_steps=1, batch=2, model_size="small")
    ):
        pass
    (folder / "words.tsv").write_text(WORDS)
    held_out = hold_out(load_training_data(avatar, "whisper-tiny", 0.3), 200)
    scorer = open_syncnet(real_syncnet)
    return open_bench(held_out, scorer=scorer, words=folder / "words.tsv", models=models)


@pytest.fixture(scope="module")
def measured(bench: Bench):
    """Figures of the real crops, changed by a function of them."""

    def measure(change=lambda crops: crops) -> dict[str, float]:
        mouths = bench.lips.detect(change(bench.held_out.crops))
        return bench.measure(Row(mouths, own_audio(bench.held_out))).figures

    return measure


@pytest.fixture(scope="module")
def real(measured) -> dict[str, float]:
    """Figures of the real crops."""
    return measured()


def within_mask(bench: Bench, crops: np.ndarray, changed: np.ndarray) -> np.ndarray:
    return np.where(bench.picture.areas.mask[None, :, :, None], changed, crops).astype(np.uint8)


def test_identical_mouths(real) -> None:
    for name in (
        "opening_correlation",
        "opening_std_ratio",
        "sharpness_ratio",
        "seam_ratio",
        "skin_jitter_ratio",
        "lip_flicker_ratio",
    ):
        assert real[name] == pytest.approx(1), name
    for name in ("lmd", "lpips", "colour_drift", "closure_gap", "sync_offset"):
        assert real[name] == pytest.approx(0, abs=1e-6), name
    assert real["ssim"] == pytest.approx(1)
    assert real["psnr_db"] > 99


@pytest.mark.parametrize("late", [-4, 6])
def test_shifted_mouths(real, measured, late: int) -> None:
    """Mouths that come `late` frames too late: their audio came earlier."""
    found = measured(lambda crops: np.roll(crops, late, axis=0))
    assert found["sync_offset"] == -late
    assert found["opening_correlation"] < 0.8
    assert found["lmd"] > 0.01
    assert found["psnr_db"] < 40
    assert found["lse_c"] == pytest.approx(real["lse_c"], rel=0.25)  # in sync, elsewhere


def test_blurred_mouths(bench, measured) -> None:
    blurred = np.stack([cv2.GaussianBlur(crop, None, 1.5) for crop in bench.held_out.crops])
    found = measured(lambda crops: within_mask(bench, crops, blurred))
    assert found["sharpness_ratio"] < 0.4
    assert found["lpips"] > 0.01
    assert found["opening_correlation"] > 0.95
    assert found["colour_drift"] < 0.5
    assert found["sync_offset"] == 0


def test_frozen_mouth(bench, measured, real) -> None:
    found = measured(lambda crops: within_mask(bench, crops, crops[:1].repeat(len(crops), 0)))
    assert found["opening_std_ratio"] < 0.35  # what is left is the head's own motion under a still patch
    assert found["skin_jitter_ratio"] < 0.1
    assert found["lip_flicker_ratio"] < 0.5
    assert found["lse_c"] < real["lse_c"] / 2


def test_mouth_that_never_shuts(bench, measured) -> None:
    """The widest mouth of all on every p, b and m."""
    widest = int(bench.mouth.real.opening.argmax())
    found = measured(lambda crops: within_mask(bench, crops, crops[[widest]].repeat(len(crops), 0)))
    assert found["closure_gap"] > 0.5


def test_other_colour_makes_drift_and_seam(bench, measured) -> None:
    found = measured(lambda crops: within_mask(bench, crops, np.clip(crops + np.array([60.0, 0, 0]), 0, 255)))
    assert found["colour_drift"] > 5
    assert found["opening_correlation"] > 0.9


def test_hard_edge_is_a_seam(bench, measured) -> None:
    inside = (crop_module.mask(bench.held_out.spec) > 0.1)[None, :, :, None]
    found = measured(lambda crops: np.where(inside, crops // 2, crops))
    assert found["seam_ratio"] > 1.5


def test_noise_is_jitter(bench, measured) -> None:
    noise = np.random.default_rng(0).normal(0, 12, bench.held_out.crops.shape)
    found = measured(lambda crops: within_mask(bench, crops, np.clip(crops + noise, 0, 255)))
    assert found["skin_jitter_ratio"] > 1.5
    assert found["lip_flicker_ratio"] > 1.5
    assert found["sharpness_ratio"] > 1.2


def test_teeth_that_come_and_go_flicker(bench, measured) -> None:
    """Every other mouth is lighter inside; whoever merely moves does not flicker more than the real one."""
    rows, columns = bench.picture.areas.lips
    height, width = rows.stop - rows.start, columns.stop - columns.start
    teeth = (
        slice(rows.start + height // 3, rows.stop - height // 3),
        slice(columns.start + width // 3, columns.stop - width // 3),
    )

    def blink(crops: np.ndarray) -> np.ndarray:
        changed = crops.copy()
        inside = changed[(slice(None, None, 2), *teeth)]
        inside[:] = np.clip(inside.astype(int) + 60, 0, 255)
        return changed

    assert measured(blink)["lip_flicker_ratio"] > 1.5
    shifts = np.rint(4 * np.sin(np.arange(len(bench.held_out.crops)) / 5)).astype(int)
    moved = measured(lambda crops: np.stack([np.roll(c, s, 0) for c, s in zip(crops, shifts, strict=True)]))
    assert moved["lip_flicker_ratio"] < 1.3


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
    found: list[dict[str, Measured]] = []
    openings, kept = [], []
    for root in (person_avatar, in_a_large_picture):
        bench = open_bench(hold_out(load_training_data(open_avatar(root), "mel80", 0.3)), models=models)
        rows = baselines(bench)
        found.append({name: bench.measure(row) for name, row in rows.items()})
        openings.append({name: row.mouths.opening for name, row in rows.items()})
        assert all(region.pixels.base is None for region in bench.lips.regions)
        kept.append(sum(region.pixels.nbytes for region in bench.lips.regions))
    figure(f"kept of the frames: {kept[0] / 1e6:.1f} MB of 512², {kept[1] / 1e6:.1f} MB of {WIDE}×{TALL}")
    assert kept[1] < 1.8 * kept[0]  # black beside a person who fills the picture is seen, too
    assert kept[1] < 0.15 * TALL * WIDE * 3 * len(bench.held_out.frames)
    for name, small in found[0].items():
        assert found[1][name].figures == pytest.approx(small.figures, rel=0.03, abs=0.01), name
        np.testing.assert_allclose(openings[1][name], openings[0][name], atol=2e-4)


def test_words_that_begin_with_closed_lips(bench) -> None:
    assert bench.mouth.bilabials_s.tolist() == [45.0, 48.0]


@pytest.mark.parametrize("text", ["word,start_s\nblue,1.0\n", "start_s\tword\nsoon\tblue\n", "start_s\tword\n1.0\n"])
def test_a_table_that_is_none_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "words.tsv"
    path.write_text(text)
    with pytest.raises(FormatError, match="not a table of tab-separated columns start_s, end_s and word"):
        read_bilabials(path)


def restless(source: Path, out: Path) -> None:
    """A generator whose motion network answers silence with a movement."""
    info, network = open_generator(source)
    with torch.no_grad():
        for parameter in network.motion.parameters():
            parameter.normal_(0, 1.0)
    save_generator(out, info, network)


def test_silence_is_judged_without_the_rest_rule(person_avatar, generator_file, models, tmp_path) -> None:
    restless(generator_file, tmp_path / "g.safetensors")
    found = evaluate(open_avatar(person_avatar), tmp_path / "g.safetensors", models=models).run()
    assert list(found.rows) == [name for name in ROWS if name in found.rows]
    assert not np.array_equal(found.openings[SILENCE_PREDICTED], found.openings[SILENCE])
    assert set(found.rows[SILENCE_PREDICTED]) == set(found.rows[SILENCE])
    assert found.rows[REAL]["opening_correlation"] == pytest.approx(1)
    assert found.rows[GENERATED]["lmd_to_generated"] == 0
