"""Small faces in large pictures are found; where there is none to be found, the reason is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.errors import NoFaceError, OptionError
from udh_core.face.choice import Choice
from udh_core.face.crop import eye_distance
from udh_core.face.detector import FaceBox
from udh_core.face.finder import Face, FaceFinder, Wanted
from udh_core.face.tracking import Follower

People = tuple[list[np.ndarray], list[np.ndarray]]


@pytest.fixture(scope="module")
def finder(models: Path) -> FaceFinder:
    return FaceFinder(models)


def in_picture(
    face: np.ndarray, side: int, size: tuple[int, int], corner: tuple[int, int], *, plain: bool
) -> np.ndarray:
    """A face (h, h, 3) of `side` px in a picture of this size (width, height), black or full of detail."""
    width, height = size
    if plain:
        picture = np.zeros((height, width, 3), np.uint8)
    else:
        noise = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3)).astype(np.uint8)
        picture = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    x, y = corner
    picture[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return picture


def news(people: People) -> np.ndarray:
    """(288, 288, 3): the presenter alone."""
    return people[0][0][:, 112:400]


@pytest.mark.parametrize(
    ("size", "side", "plain"),
    [
        ((3840, 2160), 400, True),
        ((3840, 2160), 210, True),
        ((2560, 1440), 256, False),
        ((1920, 1080), 200, False),
        ((1080, 1920), 180, True),
    ],
)
def test_a_small_face_in_the_corner_of_a_large_picture(
    size: tuple[int, int], side: int, plain: bool, two_people: People, finder: FaceFinder
) -> None:
    corner = (size[0] - side - 40, size[1] - side - 40)
    (face,) = finder.find(in_picture(news(two_people), side, size, corner, plain=plain))
    centre = np.array([face.box.x, face.box.y]) - corner
    assert np.abs(centre - side / 2).max() < 0.2 * side
    assert 0.15 * side < eye_distance(face.landmarks) < 0.4 * side


def test_a_small_face_is_followed_and_found_again(two_people: People, models: Path) -> None:
    frames = [in_picture(p[:, 112:400], 180, (1920, 1080), (1600, 60), plain=True) for p in two_people[0][:12]]
    frames[5] = np.zeros_like(frames[5])
    found = list(Follower(models).follow(frames))
    assert [i for i, face in enumerate(found) if face.landmarks is None] == [5]


def test_a_point_finds_the_small_face_beside_a_large_one(two_people: People, finder: FaceFinder) -> None:
    frame = in_picture(news(two_people), 150, (1920, 1080), (60, 60), plain=True)
    frame[:, 840:] = cv2.resize(two_people[1][0], (1920, 1080))[:, 420:1500]
    assert all(face.box.x > 840 for face in finder.find(frame))
    faces = finder.find(frame, Wanted(point=(130.0, 140.0)))
    assert min(face.box.x for face in faces) == pytest.approx(135, abs=40)


def test_a_face_that_is_too_small_is_named(two_people: People, models: Path) -> None:
    follower = Follower(models)
    frame = in_picture(news(two_people), 50, (1280, 720), (1100, 30), plain=True)
    assert [face.landmarks for face in follower.follow([frame])] == [None]
    with pytest.raises(
        NoFaceError, match=r"no face found in any of 1 frames is large enough: the eyes of one are 1\d px"
    ):
        follower.check_found()


def test_where_nobody_is_that_is_said(models: Path) -> None:
    follower = Follower(models)
    grey = np.random.default_rng(0).integers(90, 160, (2, 96, 128, 3)).astype(np.uint8)
    assert [face.landmarks for face in follower.follow(grey)] == [None, None]
    with pytest.raises(NoFaceError, match="no face found in any of 2 frames; use a clip in which"):
        follower.check_found()


# Which face is meant


def faces(*places: tuple[float, float]) -> list[Face]:
    return [Face(FaceBox(x, y, 100.0), np.zeros((468, 2), np.float32), 1.0) for x, y in places]


@pytest.mark.parametrize(
    ("count", "index", "words"),
    [
        (1, 3, "there is 1 face; `face_index` 3 asks for a fourth: give 0"),
        (1, 1, "there is 1 face; `face_index` 1 asks for a second: give 0"),
        (3, 12, r"there are 3 faces; `face_index` 12 asks for a 13th: give 0 \(the largest and most central\) to 2"),
    ],
)
def test_more_faces_are_asked_for_than_there_are(count: int, index: int, words: str) -> None:
    choice = Choice(index)
    assert choice.pick(faces((100, 100), (300, 100), (500, 100))[:count]) is None
    with pytest.raises(NoFaceError, match=words):
        raise choice.refusal(255, [])


def test_nobody_is_at_the_place() -> None:
    choice = Choice(point=(20.0, 400.0))
    assert choice.pick(faces((300, 100))) is None and choice.pick(faces((310, 100), (600, 110))) is None
    with pytest.raises(
        NoFaceError, match="no face at `face_at` 20 400 in any of 9 frames; there are some at 310 100, 600"
    ):
        raise choice.refusal(9, [])
    there = faces((30, 390))
    assert choice.pick(there) is there[0]


@pytest.mark.parametrize("point", [(512.0, 10.0), (-1.0, 10.0), (10.0, 288.0), (float("nan"), 1.0)])
def test_a_place_outside_of_the_picture(point: tuple[float, float], two_people: People, models: Path) -> None:
    with pytest.raises(OptionError, match=r"`face_at` .* lies outside of the picture, which has 512×288 px"):
        next(Follower(models, point=point).follow(two_people[0]))
