"""Frames that do not show the whole face: named, stored, and never trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.audit.visibility import tilt_deg, visibility_findings
from udh_core.avatar.dataset import LOST, load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.occlusion import not_whole
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import track_face
from udh_core.errors import FormatError, NoFaceError
from udh_core.progress import job
from udh_core.training.references import choose_references

COVERED = np.r_[30:45, 90:110]
OUTSIDE = np.r_[0:10]


def findings(avatar: Avatar) -> dict:
    return {one.name: one for one in job(visibility_findings)(avatar, avatar.track()).run()}


def test_covered_frames_are_stored(covered_avatar: Avatar) -> None:
    found = covered_avatar.occlusion()
    assert found.frames.tolist() == COVERED.tolist()
    assert np.flatnonzero(found.hidden(150)).tolist() == list(range(30, 45))


def test_what_is_not_whole_is_named_with_its_times(covered_avatar: Avatar) -> None:
    found = findings(covered_avatar)
    assert found["occlusion"].level == "red"
    assert found["occlusion"].ranges_s == ((1.2, 1.8), (3.6, 4.4))
    assert 1.2 <= found["occlusion"].worst_s < 1.8
    assert (found["framing"].level, found["framing"].ranges_s) == ("yellow", ((0.0, 0.4),))
    assert found["tilt"].level == "green"


def test_what_is_not_whole_is_not_trained_on(covered_avatar: Avatar, caplog: pytest.LogCaptureFixture) -> None:
    data = load_training_data(covered_avatar, "mel80", 0.2)
    left_out = np.r_[OUTSIDE, 28:47, 88:112]
    assert np.flatnonzero(not_whole(covered_avatar, covered_avatar.track())).tolist() == left_out.tolist()
    assert not np.isin(left_out, data.train_frames).any()
    assert np.isin([26, 27, 47, 48], data.train_frames).all()
    assert (data.shots[left_out] == LOST).all()
    assert not np.isin(choose_references(data, 4, seed=0), left_out).any()
    assert "something is before the mouth at 1.2–1.8 s, 3.6–4.4 s" in caplog.text
    assert "the chin is outside the picture at 0.0–0.4 s" in caplog.text


def test_too_few_whole_frames_are_explained(covered_avatar: Avatar) -> None:
    with pytest.raises(NoFaceError, match=r"longer clip \(something is before the mouth at .*; the chin is outside"):
        load_training_data(covered_avatar, "mel80", 0.6)


def test_an_avatar_of_an_earlier_version_goes_on(covered_avatar: Avatar, models: Path, tmp_path: Path) -> None:
    """Nothing is taken to be before the face until somebody looks: the audit, or preparing it again."""
    root = shutil.copytree(covered_avatar.root, tmp_path / "old")
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    del state["stages"]["occlusion"]
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    (root / "occlusion.npz").unlink()
    old = open_avatar(root)
    assert old.identity == covered_avatar.identity
    assert len(old.occlusion().frames) == 0
    assert np.isin([30, 44], load_training_data(old, "mel80", 0.2).train_frames).all()
    assert findings(old)["occlusion"].ranges_s == ((1.2, 1.8), (3.6, 4.4))
    stages = {step.stage for step in track_face(root, PrepareOptions(96, skip_lost=True), models=models)}
    assert stages == {"occlusion"}
    assert open_avatar(root).occlusion().frames.tolist() == COVERED.tolist()


def test_a_damaged_file_is_refused(covered_avatar: Avatar, tmp_path: Path) -> None:
    root = shutil.copytree(covered_avatar.root, tmp_path / "damaged", ignore=shutil.ignore_patterns("crops.npy"))
    (root / "occlusion.npz").write_bytes(b"PK")
    with pytest.raises(
        FormatError, match=r"occlusion\.npz is damaged or missing; delete it and prepare the avatar again"
    ):
        open_avatar(root, ("video", "track")).occlusion()


def test_a_tilted_head_stands_upright_in_its_crop(person_avatar: Path, repainted: Callable) -> None:
    """To one shoulder for 30 frames, then to the other."""

    def turned(frame: np.ndarray, number: int) -> np.ndarray:
        turn = cv2.getRotationMatrix2D((127.5, 127.5), 35 if number < 30 else -35, 0.8)
        return cv2.warpAffine(frame, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)

    avatar, upright = repainted(turned, 60), open_avatar(person_avatar)
    track = avatar.track()
    assert track.valid.all()
    turn_deg = tilt_deg(track) - tilt_deg(upright.track())[:60]
    assert turn_deg == pytest.approx(np.repeat([-35.0, 35.0], 30), abs=2.0)
    apart = np.abs(avatar.crops()[::10].astype(int) - upright.crops()[:60:10])
    assert apart.mean() < 8
    found = findings(avatar)
    assert (found["tilt"].level, found["occlusion"].level, found["framing"].level) == ("red", "green", "green")
    assert f"{np.abs(tilt_deg(track)).max():.0f}°" in found["tilt"].sentence
