"""What the head's pose explains is taken out of the mouth's shape; what speech does stays."""

from __future__ import annotations

import numpy as np

from udh_core.face.head_pose import head_pose, without_pose

COUNT, FPS = 500, 25.0
TIME_S = np.arange(COUNT) / FPS
SHOTS = (np.arange(COUNT) >= 200).astype(int)
LEARNT = np.arange(400)
RNG = np.random.default_rng(4)
TURNING = np.sin(2 * np.pi * 0.11 * TIME_S) + 0.4 * np.sin(2 * np.pi * 0.37 * TIME_S + 1)
NODDING = np.cos(2 * np.pi * 0.17 * TIME_S + 2)
SPEECH = np.abs(np.sin(2 * np.pi * 2.9 * TIME_S)) * 0.05


def moved(directions: np.ndarray) -> np.ndarray:
    """(N, P, 2): turning moves points along the first of directions (2, P, 2), nodding along the second."""
    return TURNING[:, None, None] * directions[0] + NODDING[:, None, None] * directions[1]


def mouth() -> np.ndarray:
    points = np.tile(RNG.normal(size=(1, 10, 2)), (COUNT, 1, 1))
    points[:, 3, 1] += SPEECH
    return points


HEARD = np.column_stack([SPEECH, np.roll(SPEECH, 1), RNG.normal(size=(COUNT, 6))]).astype(np.float32)
STABLE = moved(RNG.normal(size=(2, 12, 2)) * 0.05)
TRUE = mouth()
SEEN = TRUE + moved(RNG.normal(size=(2, 10, 2)) * 0.1)


def free(points: np.ndarray, stable: np.ndarray, heard: np.ndarray = HEARD) -> np.ndarray:
    return without_pose(points.astype(np.float32), head_pose(stable, SHOTS, LEARNT, FPS), heard, LEARNT, FPS)


def test_speech_is_left_and_pose_is_not() -> None:
    found = free(SEEN, STABLE)
    assert found.dtype == np.float32 and found.shape == SEEN.shape
    inside = LEARNT[:-10]  # smoothing ends at the shot's border
    error = (found - found[inside].mean(0) - (TRUE - TRUE[inside].mean(0)))[inside]
    assert error.std() < 0.1 * (SEEN - SEEN.mean(0)).std()
    assert np.corrcoef(found[inside, 3, 1], SPEECH[inside])[0, 1] > 0.95
    assert np.corrcoef(SEEN[inside, 3, 1], SPEECH[inside])[0, 1] < 0.5


def test_the_mean_of_what_is_learnt_stays() -> None:
    found = free(SEEN, STABLE)
    assert np.allclose(found[LEARNT].mean(0), SEEN[LEARNT].mean(0), atol=1e-4)


def test_a_mouth_that_shakes_the_eyes_is_not_taken_for_pose() -> None:
    shaken = STABLE + SPEECH[:, None, None] * RNG.normal(size=(1, 12, 2))
    found = free(SEEN, shaken)
    assert np.corrcoef(found[:380, 3, 1], SPEECH[:380])[0, 1] > 0.9


def test_a_head_that_nods_with_the_speech_takes_nothing_of_it() -> None:
    """The mouth follows slow loudness, and so does the head, for the most part."""
    loudness = np.abs(np.sin(2 * np.pi * 0.15 * TIME_S))
    nodding = loudness + 0.2 * np.cos(2 * np.pi * 0.21 * TIME_S)
    directions = RNG.normal(size=(2, 12, 2)) * 0.05
    stable = TURNING[:, None, None] * directions[0] + nodding[:, None, None] * directions[1]
    points = np.zeros((COUNT, 10, 2))
    points[:, 3, 1] = 0.05 * loudness
    heard = np.column_stack([loudness + 0.02 * RNG.normal(size=COUNT), RNG.normal(size=(COUNT, 7))])
    deaf = RNG.normal(size=(COUNT, 8))
    left, lost = (free(points, stable, x)[LEARNT, 3, 1].std() for x in (heard, deaf))
    real = points[LEARNT, 3, 1].std()
    assert lost < 0.5 * real and left > 0.9 * real


def test_a_head_that_stands_still_changes_nothing() -> None:
    found = free(TRUE, np.zeros((COUNT, 12, 2)))
    assert np.allclose(found, TRUE, atol=1e-5)


LOST = slice(100, 115)


def without(lost: slice, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places with the face lost in some frames, and the frames left to learn from."""
    places = places.copy()
    places[lost] = np.nan
    return places, np.setdiff1d(LEARNT, np.arange(COUNT)[lost])


def test_lost_frames_have_no_weight_in_the_pose_of_their_neighbours() -> None:
    far = STABLE + 0.2  # where a lost frame's zeros would be far from every pose there is
    stable, learnt = without(LOST, far)
    whole, found = head_pose(far, SHOTS, learnt, FPS), head_pose(stable, SHOTS, learnt, FPS)
    beside = [LOST.start - k for k in (1, 2, 3, 5)] + [LOST.stop + k for k in (0, 1, 2, 4)]
    assert np.abs(found - whole)[beside, :2].max() < 0.2
    assert np.abs(found - whole)[learnt, :2].mean() < 0.005
    assert not found[LOST].any()


def test_a_shot_whose_end_is_lost_is_one_that_ends_before() -> None:
    lost = slice(180, 200)
    stable, learnt = without(lost, STABLE)
    kept = np.delete(np.arange(COUNT), lost)
    found = head_pose(stable, SHOTS, learnt, FPS)[kept]
    cut = head_pose(STABLE[kept], SHOTS[kept], np.searchsorted(kept, learnt), FPS)
    np.testing.assert_allclose(found, cut, atol=1e-6)


def test_lost_frames_change_no_other_mouth() -> None:
    stable, learnt = without(LOST, STABLE)
    points, _ = without(LOST, SEEN)
    pose = head_pose(stable, SHOTS, learnt, FPS)
    found = without_pose(points, pose, HEARD, learnt, FPS)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[LOST], np.broadcast_to(found[learnt].mean(0), found[LOST].shape), atol=1e-5)
    kept = np.delete(np.arange(COUNT), LOST)
    other = without_pose(np.where(np.isnan(points), 7.0, points), pose, HEARD, learnt, FPS)
    np.testing.assert_allclose(found[kept], other[kept], atol=1e-6)
