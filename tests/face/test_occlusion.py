"""What lies before a face is found where it is, and nowhere else; what is stored of it is what rendering asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.face import crop
from udh_core.face.occluder_finder import OccluderFinder
from udh_core.face.occlusion import SIDE, Occluder, Occlusion, steady
from udh_core.face.topology import LIPS

Paint = Callable[[np.ndarray, int, int], None]  # into a small crop, at the mouth's x and y


@pytest.fixture(scope="module")
def avatar(person_avatar: Path) -> Avatar:
    return open_avatar(person_avatar)


@pytest.fixture(scope="module")
def looked_at(avatar: Avatar) -> tuple[np.ndarray, np.ndarray]:
    """Small crops (75, SIDE, SIDE, 3) of the built-in person, of every other frame, and their landmarks."""
    track = avatar.track()
    small = np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in avatar.crops()[::2]])
    return small, crop.in_crop(track.landmarks, track.transforms)[::2] * (SIDE / avatar.crop.size)


def box(image: np.ndarray, x: int, y: int) -> None:
    cv2.rectangle(image, (x - 14, y - 9), (x + 14, y + 9), (0, 0, 0), -1)


def hand(image: np.ndarray, x: int, y: int) -> None:
    skin = image[y - 14, x - 14].tolist()
    cv2.ellipse(image, (x + 4, y), (14, 20), 25, 0, 360, skin, -1)


def rod(image: np.ndarray, x: int, y: int) -> None:
    cv2.line(image, (x, y + 9), (x + 4, SIDE), (35, 35, 40), 6)


def bubble(image: np.ndarray, x: int, y: int) -> None:
    pane = image.copy()
    cv2.circle(pane, (x, y), 16, (240, 245, 250), -1)
    image[:] = cv2.addWeighted(image, 0.5, pane, 0.5, 0)


PAINTS: dict[str, Paint] = {"box": box, "hand": hand, "rod": rod, "bubble": bubble}


def painted(small: np.ndarray, points: np.ndarray, paint: Paint, frames: np.ndarray) -> np.ndarray:
    result = small.copy()
    x, y = np.rint(np.median(points[:, LIPS], axis=(0, 1))).astype(int)
    for i in frames:
        paint(result[i], int(x), int(y))
    return result


def found_in(small: np.ndarray, points: np.ndarray, avatar: Avatar) -> list[Occluder | None]:
    return OccluderFinder(small, points, avatar.crop).find(small, points)


def test_a_talking_face_has_nothing_before_it(looked_at: tuple[np.ndarray, np.ndarray], avatar: Avatar) -> None:
    assert not any(found_in(*looked_at, avatar))


@pytest.mark.parametrize("name", PAINTS)
@pytest.mark.parametrize("frames", [np.arange(30, 42), np.flatnonzero(np.arange(75) % 25 < 8)], ids=["once", "often"])
def test_what_is_painted_is_found_where_it_is(
    name: str, frames: np.ndarray, looked_at: tuple[np.ndarray, np.ndarray], avatar: Avatar
) -> None:
    small, points = looked_at
    changed = painted(small, points, PAINTS[name], frames)
    found = found_in(changed, points, avatar)
    assert [i for i, one in enumerate(found) if one] == frames.tolist()
    redraw = cv2.resize(crop.mask(avatar.crop), (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 0
    for i in frames:
        one, true = found[i], (changed[i] != small[i]).any(-1) & redraw
        assert one is not None
        assert one.mask[true].mean() > 0.9, i
        assert (one.mask & redraw & ~true).sum() < 0.25 * redraw.sum(), i
        assert (one.covered > 0.5) == (name != "rod"), i


def one_px(row: int) -> Occluder:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[row, 10] = True
    return Occluder(mask, row / SIDE)


def test_masks_are_steady() -> None:
    """A single frame does not count, a gap of one is closed, neighbours of one shot are joined."""
    shots = np.repeat([1, 2], [20, 10])
    found = {i: one_px(i) for i in (3, 7, 8, 10, 18, 19, 20, 21)}
    kept = steady(found, shots)
    assert kept.frames.tolist() == [7, 8, 9, 10, 18, 19, 20, 21]
    rows = [np.flatnonzero(kept.opacity(int(i), SIDE)[:, 10]).tolist() for i in kept.frames]  # type: ignore[index]
    assert rows == [[7, 8], [7, 8], [8, 10], [10], [18, 19], [18, 19], [20, 21], [20, 21]]


def test_what_is_asked_of_an_occlusion() -> None:
    masks = np.zeros((2, SIDE * SIDE // 8), np.uint8)
    masks[1] = 255
    found = Occlusion(np.array([4, 9], np.int32), masks, np.array([0.2, 0.8], np.float32))
    assert found.opacity(5, 96) is None
    assert found.opacity(9, 96).min() == 1  # type: ignore[union-attr]
    assert np.flatnonzero(found.hidden(12)).tolist() == [9]
    assert np.flatnonzero(found.around(12, 25.0)).tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert found.part(slice(5, 12)).frames.tolist() == [4]


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": np.array([9, 4], np.int32)},
        {"frames": np.array([4.0, 9.0])},
        {"covered": np.zeros(3, np.float32)},
        {"masks": np.zeros((2, 7), np.uint8)},
    ],
)
def test_arrays_that_do_not_belong_together(changes: dict[str, np.ndarray]) -> None:
    arrays = {"frames": np.array([4, 9], np.int32), "masks": np.zeros((2, 512), np.uint8)}
    with pytest.raises(ValueError, match="of an occlusion"):
        Occlusion(**{**arrays, "covered": np.zeros(2, np.float32), **changes})
