"""An avatar folder: one row per frame in it, and a description that is right or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import prepare
from udh_core.errors import FormatError
from udh_core.media.video import read_frames

OPTIONS = PrepareOptions(96, "mel80")


def test_everything_has_one_row_per_frame(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    track = avatar.track()
    assert avatar.info.frame_count == 150
    assert avatar.crops().shape == (150, 96, 96, 3)
    assert {len(rows) for rows in (track.landmarks, track.transforms, track.valid, track.shot_starts)} == {150}
    assert track.valid.all() and track.present.all()
    assert sum(1 for _ in read_frames(avatar.video)) == 150
    assert avatar.features("mel80").duration_s == pytest.approx(6, abs=0.05)
    np.testing.assert_allclose(avatar.frame_times_s()[[0, 149]], [0.02, 5.98])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "stages": null}', "\udcff"])
def test_damaged_description(copy: Path, person: Path, text: str) -> None:
    (copy / "avatar.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(FormatError, match=r"avatar\.json is damaged; delete it and prepare the avatar again"):
        open_avatar(copy)
    with pytest.raises(FormatError, match=r"avatar\.json is damaged"):
        list(prepare(person / "person.mp4", copy, OPTIONS))


def test_description_with_an_impossible_crop(copy: Path) -> None:
    state = json.loads((copy / "avatar.json").read_text(encoding="utf-8"))
    state["crop"]["size"] = 100
    (copy / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(FormatError, match=r"avatar\.json is damaged"):
        open_avatar(copy)


def test_description_of_another_version(copy: Path) -> None:
    (copy / "avatar.json").write_text('{"format": 99, "stages": {}}', encoding="utf-8")
    with pytest.raises(FormatError, match="has format 99, this program reads 1"):
        open_avatar(copy)


def test_not_an_avatar_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is not an avatar folder"):
        open_avatar(tmp_path)
