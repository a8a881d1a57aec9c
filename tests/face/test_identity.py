"""One person is followed: through cuts, other framings, and other people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.face.identity import OTHER, SURE, VIEWS, FaceEmbedder, Person, spread
from udh_core.face.tracking import FaceFrame, detect, fill_gaps, find_cuts

People = tuple[list[np.ndarray], list[np.ndarray]]
FPS = 25


@pytest.fixture(scope="module")
def embedder(models: Path) -> FaceEmbedder:
    return FaceEmbedder(models)


def embedding(embedder: FaceEmbedder, frame: np.ndarray, models: Path) -> np.ndarray:
    (face,) = detect([frame], models=models)
    assert face.landmarks is not None
    return embedder.embed(frame, face.landmarks)


def zoomed(frame: np.ndarray, times: float, degrees: float = 0.0) -> np.ndarray:
    """Another framing of the same scene."""
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, times)
    return cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(288, 512, 3): the middles of two pictures."""
    return np.hstack([left[:, 128:384], right[:, 128:384]])


def kept(found: list[FaceFrame]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool: where the person is known; and where somebody else is shown."""
    starts = find_cuts(np.array([face.change for face in found]), FPS)
    others = spread(np.array([face.distance for face in found]), starts) > OTHER
    return fill_gaps(found, starts, FPS, others)[1], others


# The embedding


def test_one_person_is_alike_and_two_are_not(two_people: People, embedder: FaceEmbedder, models: Path) -> None:
    news, grid = ([embedding(embedder, frames[k], models) for k in (0, 39)] for frames in two_people)
    changed = [zoomed(two_people[0][20], 0.6, 20), cv2.convertScaleAbs(two_people[0][20], alpha=0.5)]
    news += [embedding(embedder, frame, models) for frame in changed]
    assert max(float(np.linalg.norm(a - b)) for a in news for b in news) < SURE
    assert float(np.linalg.norm(grid[0] - grid[1])) < SURE
    assert min(float(np.linalg.norm(a - b)) for a in news for b in grid) > OTHER


def test_a_person_is_known_by_views_that_fit() -> None:
    person, axes = Person(), np.eye(128, dtype=np.float32)
    assert not person.is_known and person.distance(axes[0]) == np.inf
    for k in range(40):
        person.remember(0.03 * k * axes[0])  # one step after the other, further and further away
    assert person.distance(0.0 * axes[0]) == 0
    assert person.distance(OTHER * axes[0]) < 0.2
    assert person.distance(1.2 * axes[0]) > OTHER - 0.05  # whoever that is, the first view was another person's
    for k in range(1, 40):
        person.remember(0.4 * axes[k])
    assert sum(person.distance(0.4 * axes[k]) == 0 for k in range(1, 40)) < VIEWS


def test_a_frame_has_the_next_measurement_of_its_shot() -> None:
    nan = np.nan
    measured = np.array([nan, 0.1, nan, 0.8, nan, nan, nan, 0.2, nan, nan, nan])
    starts = np.isin(np.arange(11), (0, 5, 9))
    expected = [0.1, 0.1, 0.8, 0.8, 0.8, 0.2, 0.2, 0.2, 0.2, nan, nan]
    np.testing.assert_array_equal(spread(measured, starts), expected)
    assert np.isnan(spread(np.full(3, nan), np.array([True, False, False]))).all()


# Following


@pytest.mark.parametrize(
    ("first", "choice"),
    [(0, {}), (1, {"face_index": 0}), (1, {"point": (256.0, 140.0)})],
    ids=["none", "index", "point"],
)
def test_an_interview_has_one_person(two_people: People, models: Path, first: int, choice: dict) -> None:
    own, other = two_people[first], two_people[1 - first]
    found = list(detect([*own[:8], *other[:8], *own[8:16], *other[8:16]], models=models, **choice))
    valid, others = kept(found)
    assert valid.tolist() == ([True] * 8 + [False] * 8) * 2
    assert np.array_equal(others, ~valid)


def test_the_same_person_in_another_framing_is_not_lost(two_people: People, models: Path) -> None:
    frames = two_people[0]
    turned = [zoomed(frame, 0.55, 25) for frame in frames[10:16]]
    dark = [cv2.convertScaleAbs(zoomed(frame, 1.3, -12), alpha=0.55, beta=10) for frame in frames[20:26]]
    small = [zoomed(frame[:, ::-1], 0.4) for frame in frames[30:36]]
    found = list(detect([*frames[:6], *turned, *dark, *small], models=models))
    valid, others = kept(found)
    assert valid.all() and not others.any()
    assert max(face.distance for face in found if np.isfinite(face.distance)) < SURE


def test_an_inset_of_somebody_else_is_left_out(two_people: People, models: Path) -> None:
    own, other = two_people
    small = [zoomed(frame, 0.5) for frame in other[:8]]
    valid, others = kept(list(detect([*own[:9], *small, *own[15:20]], models=models)))
    assert np.flatnonzero(others).tolist() == list(range(9, 17))
    assert np.array_equal(valid, ~others)


def test_two_who_change_places_are_not_mixed_up(two_people: People, models: Path) -> None:
    own, other = two_people
    frames = [side_by_side(a, b) for a, b in zip(own[:6], other[:6], strict=True)]
    frames += [side_by_side(b, a) for a, b in zip(own[6:12], other[6:12], strict=True)]
    for point, first in (((128.0, 140.0), True), ((384.0, 140.0), False)):
        found = list(detect(frames, models=models, point=point))
        assert all(face.landmarks is not None for face in found)
        on_the_left = [bool(face.landmarks[:, 0].mean() < 256) for face in found if face.landmarks is not None]
        assert on_the_left == [first] * 6 + [not first] * 6


def test_a_dissolve_to_somebody_else_is_noticed(two_people: People, models: Path) -> None:
    own, other = two_people
    weights = np.clip((np.arange(40) - 12) / 12, 0, 1)
    frames = [cv2.addWeighted(a, 1 - w, b, w, 0) for a, b, w in zip(own, other, weights, strict=True)]
    valid, others = kept(list(detect(frames, models=models)))
    assert valid[:8].all() and not valid[24:].any()
    assert others[26:].all()
