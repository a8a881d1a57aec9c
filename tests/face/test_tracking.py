"""Faces are found, followed, lost and found again; gaps and cuts are what they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core import intervals
from udh_core.errors import NoFaceError, WeightsError
from udh_core.face import topology
from udh_core.face.detector import FaceBox, FaceMesh, box_of
from udh_core.face.mouth import mouth_opening
from udh_core.face.tracking import FaceFrame, FaceTrack, comes_before, detect, fill_gaps, find_cuts, seen_region
from udh_core.media.video import read_frames

FPS = 25


def cuts_in(found: list[FaceFrame]) -> list[int]:
    return np.flatnonzero(find_cuts(np.array([face.change for face in found]), FPS)).tolist()


def points_of(face: FaceFrame) -> np.ndarray:
    assert face.landmarks is not None
    return face.landmarks


def centre(face: FaceFrame) -> np.ndarray:
    return points_of(face).mean(0)


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[topology.LEFT_EYE_OUTER] - points[topology.RIGHT_EYE_OUTER]))


@pytest.fixture(scope="module")
def frames(person: Path) -> list[np.ndarray]:
    return list(read_frames(person / "person.mp4"))


@pytest.fixture(scope="module")
def followed(frames: list[np.ndarray], models: Path) -> list[FaceFrame]:
    return list(detect(frames, models=models))


@pytest.fixture(scope="module")
def grid(clips: Path, models: Path) -> list[FaceFrame]:
    """The first 20 s of a clip with a cut every 3 s."""
    path = clips / "video" / "grid_s1_train_5min.mp4"
    return list(detect(read_frames(path, count=20 * FPS), models=models))


# Finding and following


def test_built_in_person_is_found_on_every_frame(followed: list[FaceFrame]) -> None:
    assert len(followed) == 150
    assert all(face.score > 0.9 and points_of(face).shape == (468, 2) for face in followed)


@pytest.mark.parametrize(
    ("x", "y", "side", "before"),
    [(297, 203, 104, False), (303, 197, 96, False), (180, 330, 100, True), (306, 60, 100, True), (295, 340, 90, False)],
    ids=["found again", "and again", "left", "above", "below"],
)
def test_faces_are_counted_from_left_to_right(x: float, y: float, side: float, before: bool) -> None:
    """A face that is found a second time, a few px apart, does not come before itself."""
    assert comes_before(FaceBox(x, y, side), FaceBox(300, 200, 100)) == before


def test_grid_speaker_is_found_on_every_frame(grid: list[FaceFrame]) -> None:
    assert len(grid) == 20 * FPS
    assert all(face.landmarks is not None for face in grid)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("dfrf_cnn2_25fps", 200),
        ("sadtalker_WDA_AOC_000", 200),
        ("videoretalking_face3", 125),
        ("musetalk_sun", 75),
        ("latentsync_demo2", 10),  # a small face in a large picture
    ],
)
def test_real_faces_are_found_on_every_frame(clips: Path, models: Path, name: str, count: int) -> None:
    found = list(detect(read_frames(clips / "video" / f"{name}.mp4", count=count), models=models))
    assert [i for i, face in enumerate(found) if face.landmarks is None] == []
    assert len(found) == count


def test_landmarks_turn_with_the_picture(frames: list[np.ndarray], models: Path) -> None:
    turn = cv2.getRotationMatrix2D((256, 256), 25, 1.0)
    turned = cv2.warpAffine(frames[0], turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    (upright,), (tilted,) = (list(detect([frame], models=models)) for frame in (frames[0], turned))
    expected = points_of(upright) @ turn[:, :2].T + turn[:, 2]
    off = np.linalg.norm(points_of(tilted) - expected, axis=1)
    assert off.mean() < 0.04 * eye_distance(points_of(upright))


def test_face_is_found_again_after_black_frames(
    frames: list[np.ndarray], followed: list[FaceFrame], models: Path
) -> None:
    black = [np.zeros_like(frames[0])] * 4
    found = list(detect([*frames[:8], *black, *frames[12:20]], models=models))
    assert [i for i, face in enumerate(found) if face.landmarks is None] == [8, 9, 10, 11]
    off = np.linalg.norm(points_of(found[13]) - points_of(followed[13]), axis=1)
    assert off.max() < 0.03 * eye_distance(points_of(followed[13]))


@pytest.mark.parametrize("degrees", [0, 25])
def test_what_lies_outside_the_seen_region_does_not_matter(
    frames: list[np.ndarray], models: Path, degrees: int
) -> None:
    turn = cv2.getRotationMatrix2D((256, 256), degrees, 0.4)
    frame = cv2.warpAffine(frames[0], turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    mesh, box = FaceMesh(models), box_of(points_of(next(detect([frame], models=models))))
    rows, columns = seen_region(box, frame.shape)
    assert rows.stop - rows.start < 400 and columns.stop - columns.start < 400  # it says something
    other = np.random.default_rng(0).integers(0, 256, frame.shape).astype(np.uint8)
    other[rows, columns] = frame[rows, columns]
    assert np.array_equal(mesh.locate(other, box)[0], mesh.locate(frame, box)[0])
    inner = other.copy()
    inner[rows.start + 12, columns], inner[rows.stop - 13, columns] = 255 - inner[rows.start + 12, columns], 0
    assert not np.array_equal(mesh.locate(inner, box)[0], mesh.locate(frame, box)[0])


def test_the_seen_region_ends_with_the_frame() -> None:
    assert seen_region(FaceBox(5, 5, 10), (20, 30, 3)) == (slice(0, 15), slice(0, 15))
    assert seen_region(FaceBox(500, -500, 10), (20, 30, 3)) == (slice(0, 1), slice(29, 30))


def test_nothing_is_found_where_nobody_is(models: Path) -> None:
    grey = np.random.default_rng(0).integers(90, 160, (3, 96, 128, 3)).astype(np.uint8)
    assert [face.landmarks for face in detect(grey, models=models)] == [None] * 3


@pytest.fixture(scope="module")
def two_faces(frames: list[np.ndarray]) -> list[np.ndarray]:
    """A small face on the left, a large one on the right; other frames of the same person."""
    pictures = []
    for a, b in zip(frames[:4], frames[60:64], strict=True):
        picture = np.zeros((400, 700, 3), np.uint8)
        picture[100:340, 20:260] = cv2.resize(a, (240, 240), interpolation=cv2.INTER_AREA)
        picture[:400, 290:690] = cv2.resize(b, (400, 400), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    return pictures


def test_the_largest_face_is_followed(two_faces: list[np.ndarray], models: Path) -> None:
    assert all(centre(face)[0] > 290 for face in detect(two_faces, models=models))


def test_face_index_picks_the_other_face(two_faces: list[np.ndarray], models: Path) -> None:
    assert all(centre(face)[0] < 260 for face in detect(two_faces, models=models, face_index=1))


@pytest.mark.parametrize(("point", "on_the_left"), [((100.0, 200.0), True), ((600.0, 50.0), False)])
def test_point_picks_the_nearest_face(
    two_faces: list[np.ndarray], models: Path, point: tuple[float, float], on_the_left: bool
) -> None:
    found = list(detect(two_faces, models=models, point=point))
    assert {bool(centre(face)[0] < 260) for face in found} == {on_the_left}


def test_a_third_face_of_two_is_none(two_faces: list[np.ndarray], models: Path) -> None:
    assert next(detect(two_faces, models=models, face_index=2)).landmarks is None


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="udh weights fetch"):
        next(detect([np.zeros((64, 64, 3), np.uint8)], models=tmp_path))


# Cuts


def test_cuts_of_the_grid_clip(grid: list[FaceFrame]) -> None:
    assert cuts_in(grid) == list(range(0, 20 * FPS, 75))


def test_landmarks_are_right_on_the_first_frame_after_a_cut(clips: Path, models: Path, grid: list[FaceFrame]) -> None:
    frames = list(read_frames(clips / "video" / "grid_s1_train_5min.mp4", count=20 * FPS))
    for cut in range(75, 20 * FPS, 75):  # the face jumps by up to a seventh of its width
        alone = points_of(next(detect([frames[cut]], models=models)))
        off = np.abs(points_of(grid[cut]) - alone).max()
        assert off < 0.02 * np.ptp(alone, axis=0).max(), cut


def test_no_cut_in_a_smooth_clip(followed: list[FaceFrame]) -> None:
    assert cuts_in(followed) == [0]


def test_no_cut_in_a_real_smooth_clip(clips: Path, models: Path) -> None:
    assert cuts_in(list(detect(read_frames(clips / "video" / "sadtalker_WDA_AOC_000.mp4"), models=models))) == [0]


def test_a_cut_to_another_framing_is_found(frames: list[np.ndarray], models: Path) -> None:
    closer = [cv2.resize(frame[20:460, 40:480], (512, 512)) for frame in frames[60:80]]
    assert cuts_in(list(detect([*frames[:20], *closer], models=models))) == [0, 20]


def test_what_is_kept_of_a_frame_is_its_landmarks(followed: list[FaceFrame]) -> None:
    kept = [sum(getattr(value, "nbytes", 0) for value in vars(face).values()) for face in followed]
    assert max(kept) == 468 * 2 * 4
    assert all(points_of(face).base is None for face in followed)  # no view that keeps more alive


def test_a_change_is_told_from_the_frame_before() -> None:
    changes = np.array([99.0, 1, 1, 1, 8, 1, 1, 1, 1, 1])
    assert np.flatnonzero(find_cuts(changes, FPS)).tolist() == [0, 4]
    assert np.flatnonzero(find_cuts(np.full(10, 8.0), FPS)).tolist() == [0]
    assert np.flatnonzero(find_cuts(changes[:2], FPS)).tolist() == [0]


# Gaps


def found_with_gaps(present: str) -> list[FaceFrame]:
    """One FaceFrame per letter: x where a face is found, all its landmarks at (frame number, 0)."""
    rows = [np.tile(np.array([i, 0], np.float32), (468, 1)) for i in range(len(present))]
    return [FaceFrame(row if p == "x" else None, 1.0, 0.0) for p, row in zip(present, rows, strict=True)]


def filled(present: str, cuts: tuple[int, ...] = (), max_gap: int = 3) -> tuple[list[float | None], list[bool]]:
    """x of every frame's landmarks, None where they stay missing; and `valid`."""
    starts = np.isin(np.arange(len(present)), (0, *cuts))
    points, valid = fill_gaps(found_with_gaps(present), starts, max_gap)
    return [None if np.isnan(x) else float(x) for x in points[:, 0, 0]], valid.tolist()


def test_short_gap_is_interpolated_and_flagged() -> None:
    points, valid = filled("xx...xx")
    assert points == pytest.approx([0, 1, 2, 3, 4, 5, 6])
    assert valid == [True, True, False, False, False, True, True]


def test_long_gap_stays_missing() -> None:
    points, valid = filled("xx....xx")
    assert points == [0, 1, None, None, None, None, 6, 7]
    assert sum(valid) == 4


def test_gap_is_not_bridged_over_a_cut() -> None:
    assert filled("xx..xx", cuts=(4,))[0] == [0, 1, 1, 1, 4, 5]  # holds what its own shot knows
    assert filled("xx..xx", cuts=(2,))[0] == [0, 1, 4, 4, 4, 5]
    assert filled("xx..xx", cuts=(2, 4))[0] == [0, 1, None, None, 4, 5]
    assert set(filled("xx..xx", cuts=(3,))[0][2:4]) <= {None, 1, 4}


def test_gaps_at_the_ends_hold_the_nearest() -> None:
    assert filled("..xx..")[0] == [2, 2, 2, 3, 3, 3]


def test_no_face_anywhere() -> None:
    with pytest.raises(NoFaceError, match="no face found in any of 6 frames"):
        filled("......")


def test_runs() -> None:
    assert intervals.runs(np.array([True, True, False, True, False])) == [(0, 2), (3, 4)]
    assert intervals.runs(np.zeros(3, bool)) == []


def test_interpolated_frames_are_present_but_not_valid() -> None:
    transforms = np.zeros((3, 2, 3), np.float32)
    transforms[2] = np.nan
    points = np.zeros((3, 468, 2), np.float32)
    track = FaceTrack(points, transforms, np.array([True, False, False]), np.array([True, False, False]))
    assert track.present.tolist() == [True, True, False]


def test_mouth_opening_does_not_depend_on_the_size_of_the_face(followed: list[FaceFrame]) -> None:
    points = np.stack([points_of(face) for face in followed[:20]])
    np.testing.assert_allclose(mouth_opening(points), mouth_opening(3 * points + 50), rtol=1e-4)
    assert mouth_opening(points).shape == (20,)
