"""The mouths of a render by themselves: where they lie, and that they go back where they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.avatar.folder import Avatar
from udh_core.errors import FileError, MismatchError, OptionError
from udh_core.face import crop
from udh_core.face.crop import CropSpec
from udh_core.media.probe import probe
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import read_info
from udh_core.rendering.mouths import paste_mouths
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.places import places_of
from udh_core.rendering.render import render

SPEC = CropSpec(96)
TURNED = np.array([[0.42, 0.1, -20.0], [-0.1, 0.42, -10.0]], np.float32)  # source px → crop px


def ramp(size: int) -> np.ndarray:
    """(size, size, 3) uint8 of one picture, whatever its size: brightness rises to the right, and downwards."""
    axis = (np.arange(size) + 0.5) / size
    values = np.stack([np.tile(axis, (size, 1)), np.tile(axis[:, None], (1, size)), np.full((size, size), 0.5)], -1)
    return np.rint(40 + 170 * values).astype(np.uint8)


@pytest.mark.parametrize("times", [0.5, 1.5, 2, 4])
def test_a_patch_of_another_size_lies_where_it_lay(times: float) -> None:
    frame = np.full((260, 300, 3), 90, np.uint8)
    small, other = (crop.paste(frame, ramp(round(96 * n)), TURNED, SPEC).astype(int) for n in (1, times))
    assert np.abs(small - frame).max() > 60
    assert np.abs(other - small).max() <= 2


def test_an_enlarged_patch_keeps_its_detail() -> None:
    """Stripes that are too fine for the crop, but not for the frame."""
    wide = np.array([[0.25, 0, 0], [0, 0.25, 0]], np.float32)
    rows = np.where(np.arange(384) // 2 % 2, 220, 30).astype(np.uint8)
    stripes = np.broadcast_to(rows[:, None, None], (384, 384, 3)).copy()
    pasted = crop.paste(np.full((400, 400, 3), 125, np.uint8), stripes, wide, SPEC)
    inside = crop.mask_in_frame((400, 400), wide, SPEC, crop.FEATHER, None) == 1
    assert pasted[inside].std() > 80


def test_the_mask_is_that_of_the_paste() -> None:
    occluder = np.zeros((96, 96), np.float32)
    occluder[:, :40] = 1
    white = crop.paste(
        np.zeros((260, 300, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8), TURNED, SPEC, 0.2, occluder
    )
    mask = crop.mask_in_frame((260, 300), TURNED, SPEC, 0.2, occluder)
    assert np.abs(white[..., 0] - mask * 255).max() <= 2
    assert 0.02 < mask.mean() < 0.3
    x0, y0, x1, y1 = crop.box_in_frame((260, 300), TURNED, SPEC)
    mask[y0:y1, x0:x1] = 0
    assert not mask.any()


def rendered(avatar: Avatar, generator: Path, audio: Path, out: Path, options: RenderOptions) -> np.ndarray:
    """(50, S, S, 3) float32 mouths of a render."""
    kept = np.full((50, avatar.crop.size, avatar.crop.size, 3), np.nan, np.float32)
    render(avatar, generator, audio, out, options, mouths=lambda _: kept).run()
    return kept


def frames_of(video: Path) -> np.ndarray:
    return np.stack(list(read_frames(video))).astype(int)


@pytest.mark.parametrize("lost", ["pass", "hold"])
def test_mouths_go_back_where_they_were(
    lost: str, covered_avatar: Avatar, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    """Doubled, too; nothing is pasted where nothing was drawn; and only the mouth changes where others are given."""
    options = RenderOptions(crf=0, lost=lost, start_s=0.2)  # type: ignore[arg-type]
    kept = rendered(covered_avatar, generator_file, speech, tmp_path / "r.mp4", options)
    redrawn = covered_avatar.redrawn_in(read_info(generator_file).crop)
    places = places_of(redrawn, 50, options)
    drawn = np.array([places.is_drawn(k) for k in range(50)])
    assert np.array_equal(kept.any(axis=(1, 2, 3)), drawn)
    assert drawn.all() if lost == "hold" else np.array_equal(np.flatnonzero(~drawn), np.arange(25, 40))
    mouths = np.rint(kept * 255).astype(np.uint8)
    double = [cv2.resize(mouth, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for mouth in mouths]
    once = frames_of(tmp_path / "r.mp4")
    again = frames_of(paste_mouths(redrawn, double, 50, speech, tmp_path / "p.mp4", options).run())
    assert np.abs(again - once).mean() < 0.2
    assert probe(tmp_path / "p.mp4").has_audio
    other = frames_of(paste_mouths(redrawn, 255 - mouths, 50, speech, tmp_path / "o.mp4", options).run())
    for k in range(0, 50, 7):
        mask = cv2.dilate(places.mask(k), np.ones((5, 5)))  # colours are stored for four pixels together
        assert np.abs(other[k] - once[k])[mask == 0].max() <= 4
        assert drawn[k] == (np.abs(other[k] - once[k]).max() > 60), k


def test_what_are_no_mouths_is_refused(covered_avatar: Avatar, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    for shape in ((96, 90, 3), (96, 96), (96, 96, 4)):
        with pytest.raises(MismatchError, match="no square in colour"):
            paste_mouths(covered_avatar, [np.zeros(shape, np.uint8)] * 3, 3, speech, out).run()
    with pytest.raises(FileError, match=r"give a name that ends in \.mp4"):
        paste_mouths(covered_avatar, [], 3, speech, tmp_path / "out.avi").run()
    with pytest.raises(OptionError, match="ends at 6"):
        paste_mouths(covered_avatar, [], 3, speech, out, RenderOptions(start_s=7)).run()
    assert not out.exists()
