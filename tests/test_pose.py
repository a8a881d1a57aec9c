"""What the head's pose explains is taken out of the mouth's shape; what speech does stays."""

from __future__ import annotations

import numpy as np

from udh_core.pose import head_pose, without_pose

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
