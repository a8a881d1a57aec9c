"""Pictures in planes: as decoded, as encoded, and boxes of them in RGB as reading converts the whole."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numbered import FPS, convert

from udh_core.media.boxes import RgbBoxes
from udh_core.media.colours import BT709, LUMA_WEIGHTS, Colours
from udh_core.media.planes import from_frame, split
from udh_core.media.video import VideoWriter, plane_colours, read_frames, read_planes

BT601_FULL = Colours(6, True, 6, 6)
SIZE = (128, 96)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H * 3 / 2, W) uint8 planes of a soft picture that is not grey."""
    rng, (width, height) = np.random.default_rng(seed), size
    made = np.empty((height * 3 // 2, width), np.uint8)
    for plane, (low, high) in zip(split(made), ((30, 220), (90, 170), (90, 170)), strict=True):
        coarse = rng.uniform(low, high, (12, 16))
        plane[:] = cv2.resize(coarse, plane.shape[::-1], interpolation=cv2.INTER_LINEAR).round()
    return made


def clip(folder: Path, colours: Colours = BT709, name: str = "a.mp4", size: tuple[int, int] = SIZE) -> Path:
    """Three frames, encoded without loss."""
    path = folder / name
    with VideoWriter(path, width=size[0], height=size[1], fps=FPS, crf=0, encoder="x264", colours=colours) as writer:
        for seed in range(3):
            writer.write(picture(seed, size))
    return path


@pytest.mark.parametrize("colours", [BT709, BT601_FULL, Colours(5, False, 5, 4), Colours(9, False, 1, 13)], ids=str)
def test_planes_and_their_colours_come_back_as_they_were_written(tmp_path: Path, colours: Colours) -> None:
    path = clip(tmp_path, colours)
    assert plane_colours(path) == colours
    back = list(read_planes(path))
    assert len(back) == 3 and all(np.array_equal(one, picture(seed)) for seed, one in enumerate(back))
    assert np.array_equal(next(read_planes(path, start=2, count=1)), back[2])


def test_planes_are_those_that_the_decoder_gives(clips: Path) -> None:
    path = clips / "video" / "dfrf_cnn2_25fps.mp4"
    with av.open(str(path)) as container:
        for frame, read in zip(container.decode(video=0), read_planes(path, count=5), strict=False):
            for plane, part in zip(frame.planes, split(read), strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                assert np.array_equal(rows[:, : plane.width], part)


def test_a_height_that_four_does_not_divide(tmp_path: Path) -> None:
    path = clip(tmp_path, size=(66, 50))
    assert np.array_equal(next(read_planes(path)), picture(0, (66, 50)))


STORED_OTHERWISE = {
    "turned": ("-c", "copy"),
    "HLG": ("-c", "copy", "-bsf:v", "h264_metadata=transfer_characteristics=18:colour_primaries=9"),
    "pixels that are not square": ("-c:v", "libx264", "-vf", "setsar=2"),
    "4:4:4": ("-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "ten bits": ("-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"),
    "H.265": ("-c:v", "libx265", "-x265-params", "log-level=none"),
}


@pytest.mark.parametrize("name", STORED_OTHERWISE)
def test_what_is_stored_otherwise_is_read_as_rgb_alone(tmp_path: Path, name: str) -> None:
    before = ("-display_rotation", "90") if name == "turned" else ()
    path = convert(clip(tmp_path), tmp_path / "b.mp4", *STORED_OTHERWISE[name], before=before)
    assert plane_colours(path) is None
    with pytest.raises(ValueError, match="does not hold planes"):
        read_planes(path)
    assert next(read_frames(path)).shape[2] == 3


def test_an_untagged_picture_is_tagged_as_it_is_read(tmp_path: Path) -> None:
    """Players take a small one as BT.601, a large one as BT.709."""
    bare = "h264_metadata=matrix_coefficients=2:colour_primaries=2:transfer_characteristics=2"
    path = convert(clip(tmp_path), tmp_path / "b.mkv", "-c", "copy", "-bsf:v", bare)
    assert plane_colours(path) == Colours(6, False, 1, 1)


BOXES = [(slice(30, 60), slice(40, 82)), (slice(0, 96), slice(0, 128)), (slice(0, 20), slice(100, 128))]
BOXES += [(slice(70, 96), slice(0, 2)), (slice(2, 94), slice(2, 126))]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_a_box_is_the_same_rgb_as_in_the_whole_picture(tmp_path: Path, matrix: int, full_range: bool) -> None:
    path = clip(tmp_path, Colours(matrix, full_range, 1, 1), size=(192, 128))
    whole, planes = next(read_frames(path)), next(read_planes(path))
    boxes = RgbBoxes(Colours(matrix, full_range, 1, 1))
    for rows, columns in BOXES:
        assert np.array_equal(boxes.rgb(planes, rows, columns), whole[rows, columns]), (rows, columns)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_rgb_becomes_the_planes_that_become_that_rgb(matrix: int, full_range: bool) -> None:
    colours = Colours(matrix, full_range, 1, 1)
    for rgb in np.random.default_rng(0).integers(0, 256, (8, 3)):
        yuv = colours.from_rgb() @ [*rgb, 1]
        planes = np.empty((24, 16), np.uint8)
        for plane, value in zip(split(planes), yuv, strict=True):
            plane[:] = round(float(value))
        back = RgbBoxes(colours).rgb(planes, slice(0, 16), slice(0, 16))
        assert np.abs(back.astype(int) - rgb).max() <= 2, rgb


def test_a_copy_is_taken_of_a_frame() -> None:
    frame = av.VideoFrame.from_ndarray(picture(), "yuv420p")
    taken = from_frame(frame)
    taken[:] = 0
    assert np.array_equal(from_frame(frame), picture())
