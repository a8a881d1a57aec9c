"""Frames in planes are cropped and pasted into as frames in RGB are; outside the mask their bytes stay."""

from __future__ import annotations

from collections.abc import Callable

import av
import cv2
import numpy as np
import pytest

from udh_core.face.crop import FEATHER, CropSpec
from udh_core.inference.pixels import PlanePixels, RgbPixels
from udh_core.media.boxes import RgbBoxes
from udh_core.media.canvas import Canvas, Painter
from udh_core.media.colours import BT709, Colours
from udh_core.media.planes import split

SPEC = CropSpec(96)
HEIGHT, WIDTH = 216, 254  # neither their halves' sizes nor those of boxes divide them
COLOURS = [BT709, Colours(6, True, 6, 6), Colours(5, False, 5, 1)]
EDGES = {"inside": (0, 0), "left": (-100, 0), "bottom": (10, 90), "corner": (110, -90), "gone": (900, 0)}


def soft(shape: tuple[int, int], low: float, high: float, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(low, high, (shape[0] // 12 + 2, shape[1] // 12 + 2))
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR).round().astype(np.uint8)


def picture(seed: int = 0) -> np.ndarray:
    """(H * 3 / 2, W) uint8 planes."""
    made = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
    for plane, (low, high) in zip(split(made), ((60, 190), (110, 146), (110, 146)), strict=True):
        plane[:] = soft(plane.shape, low, high, seed)
    return made


def patch(seed: int = 1) -> np.ndarray:
    """(96, 96, 3) uint8 RGB: lips on skin are no stronger in colour."""
    grey = soft((96, 96), 60, 190, seed).astype(int)
    tints = [soft((96, 96), 0, 50, seed + k).astype(int) for k in (1, 2, 3)]
    return np.stack([np.clip(grey + tint, 0, 255) for tint in tints], -1).astype(np.uint8)


def place(scale: float, degrees: float = 7.0, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(2, 3) float32 source px → crop px: the crop's centre near that of the picture."""
    turn = cv2.getRotationMatrix2D((0.0, 0.0), degrees, scale)
    turn[:, 2] = SPEC.size / 2 - turn[:, :2] @ (WIDTH / 2 + 0.3 + shift[0], HEIGHT / 2 - 0.4 + shift[1])
    return turn.astype(np.float32)


def as_rgb(planes: np.ndarray, colours: Colours) -> np.ndarray:
    return RgbBoxes(colours).rgb(planes, slice(0, HEIGHT), slice(0, WIDTH))


def in_planes(rgb: np.ndarray, colours: Colours) -> np.ndarray:
    """As the encoder's input was converted while frames were RGB."""
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
    return Painter(Canvas((WIDTH, HEIGHT), (WIDTH, HEIGHT), "yuv420p", colours=colours), 1).paint(frame)


@pytest.mark.parametrize("shift", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("scale", [0.35, 0.5, 0.9, 2.3])
def test_crops_are_those_of_the_picture_in_rgb(scale: float, shift: tuple[int, int]) -> None:
    planes, where = picture(), place(scale, shift=shift)
    got = PlanePixels(SPEC, FEATHER, BT709).crop(planes, where).astype(int)
    apart = np.abs(got - RgbPixels(SPEC, FEATHER).crop(as_rgb(planes, BT709), where))
    assert apart.max() <= 1 and (apart > 0).mean() < 2e-4  # OpenCV rounds places in a box and in the whole differently


@pytest.mark.parametrize("feather", [FEATHER, 0.01])
@pytest.mark.parametrize("shift", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("scale", [0.35, 0.9, 2.3])
def test_outside_the_mask_planes_stay_as_they_are(
    scale: float, shift: tuple[int, int], feather: float, paste_area: Callable[..., np.ndarray]
) -> None:
    planes, where = picture(), place(scale, shift=shift)
    before = planes.copy()
    pasted = PlanePixels(SPEC, feather, BT709).paste(planes, patch(), where, None)
    assert np.array_equal(planes, before)
    area = paste_area((HEIGHT, WIDTH), where, SPEC)  # of any feather
    touched = area.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any((1, 3))
    for new, old, allowed in zip(split(pasted), split(planes), (area, touched, touched), strict=True):
        assert np.array_equal(new[~allowed], old[~allowed])
    assert (shift == EDGES["inside"]) <= bool((split(pasted)[0] != split(planes)[0]).any())


@pytest.mark.parametrize("colours", COLOURS, ids=str)
@pytest.mark.parametrize("scale", [0.35, 0.6, 0.9, 1.3, 2.3])
def test_inside_the_mask_planes_show_what_rgb_shows(scale: float, colours: Colours, figure) -> None:
    planes, where = picture(), place(scale)
    got = as_rgb(PlanePixels(SPEC, FEATHER, colours).paste(planes, patch(), where, None), colours)
    before = as_rgb(planes, colours)
    pasted = RgbPixels(SPEC, FEATHER).paste(before, patch(), where, None)
    wanted = as_rgb(in_planes(pasted, colours), colours)
    apart = np.abs(got.astype(int) - wanted)[(pasted != before).any(-1)]
    figure(f"pasted into planes or RGB, scale {scale}: apart by {apart.mean():.2f}, at most {apart.max()} of 255")
    assert apart.mean() < 1.0 and np.percentile(apart, 99) <= 3


def test_nothing_of_what_is_under_the_mask_is_left() -> None:
    """Where the mask is 1, two pictures that differ there become the same."""
    pixels, where = PlanePixels(SPEC, FEATHER, BT709), place(0.5)
    first, second = (pixels.paste(picture(seed), patch(), where, None) for seed in (0, 5))
    same = split(first)[0] == split(second)[0]
    middle = cv2.invertAffineTransform(where) @ (48, 64, 1)
    x, y = (int(part) for part in middle)
    assert same[y - 10 : y + 10, x - 20 : x + 20].all()
    for k in (1, 2):
        assert np.array_equal(
            *(split(one)[k][y // 2 - 5 : y // 2 + 5, x // 2 - 10 : x // 2 + 10] for one in (first, second))
        )


def test_what_lies_before_the_face_keeps_its_planes() -> None:
    planes, where = picture(), place(1.0, 0.0)
    occluder = np.zeros((96, 96), np.float32)
    occluder[:, 30:60] = 1
    pasted = PlanePixels(SPEC, FEATHER, BT709).paste(planes, patch(), where, occluder)
    inside = cv2.warpAffine(occluder, where, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) == 1
    assert np.array_equal(split(pasted)[0][inside], split(planes)[0][inside])
    whole = inside.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).all((1, 3))
    assert whole.sum() > 500 and np.array_equal(split(pasted)[1][whole], split(planes)[1][whole])
