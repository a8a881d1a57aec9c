"""Taking the head's pose out of the shape of the mouth: what is left is what speech does, and sound can tell.

Turning and nodding move lips and jaw in the picture more than speaking does: 78 % of the variance of the news presenter
and of the GRID speaker. Who speaks also nods, so a plain regression on the pose takes some of the speech along (on GRID
the opening that is left correlates with the real one by 0.97); what the sound explains is therefore set apart first, in
the pose and in the shape (0.99).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

COMPONENTS = 4  # of the places of what speech does not move
ANGLES = 2  # the first of them: turning and nodding
SMOOTH_S = 0.12  # standard deviation: the mesh lets a little of a moving mouth into its eyes and nose
HEARD = 24  # principal components of the sound
AROUND_S = (-0.24, -0.12, 0.0, 0.12, 0.24)  # when it is heard
_RIDGE = 0.003


def head_pose(stable: np.ndarray, shots: np.ndarray, learnt: np.ndarray, fps: float) -> np.ndarray:
    """(N, COMPONENTS) float32 how the head is turned, in standard deviations over the frames `learnt` (n,).

    stable: (N, Q, 2) float32 where the points that speech does not move lie in the crop, NaN where the face is lost:
    such frames get the mean pose, 0, and no weight in the pose of their neighbours. shots: (N,) the frames' shots.
    """
    flat, known = _with_mean_where_lost(stable, learnt)
    angles = np.clip(_components(flat, learnt, COMPONENTS), -4, 4)
    borders = np.flatnonzero(np.diff(shots)) + 1
    parts = zip(np.split(angles, borders), np.split(known, borders), strict=True)
    return np.concatenate([_smooth(part, seen, SMOOTH_S * fps) for part, seen in parts]).astype(np.float32)


def without_pose(points: np.ndarray, pose: np.ndarray, heard: np.ndarray, learnt: np.ndarray, fps: float) -> np.ndarray:
    """points (N, P, 2) float32 with what turning and nodding explain taken out, a regression over the frames `learnt`.

    Points are NaN where the face is lost: such frames get the mean shape. pose: (N, COMPONENTS), see `head_pose`;
    learnt: (n,); heard: (N, D) float32 features of the sound.
    """
    flat, known = _with_mean_where_lost(points, learnt)
    pose = pose[:, :ANGLES].astype(np.float64)
    terms = np.column_stack([pose, *(pose[:, i] * pose[:, k] for i in range(ANGLES) for k in range(i, ANGLES))])
    terms -= terms[learnt].mean(0)
    terms[~known] = 0.0
    sound = _around(_components(heard, learnt, HEARD), fps)[learnt]
    x, y = (_unexplained(part - part.mean(0), sound - sound.mean(0)) for part in (terms[learnt], flat[learnt]))
    return (flat - terms @ _regression(x, y)).reshape(points.shape).astype(np.float32)


def _with_mean_where_lost(places: np.ndarray, learnt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, P, 2) → (N, 2·P) float64 with the mean of the frames learnt in place of NaN, and (N,) bool where none was."""
    flat = places.reshape(len(places), -1).astype(np.float64)
    known = np.asarray(np.isfinite(flat).all(axis=1))
    return np.where(known[:, None], flat, flat[learnt].mean(0)), known


def _smooth(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over time of those rows of (n, K) that are known (n,); `sigma` in frames. The others become 0."""
    total = gaussian_filter1d(np.where(known[:, None], values, 0.0), sigma, axis=0, mode="constant")
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode="constant")
    return np.where(known[:, None], total / np.maximum(weight, 1e-12)[:, None], 0.0)


def _components(values: np.ndarray, learnt: np.ndarray, count: int) -> np.ndarray:
    """(N, D) → (N, count) principal components, in standard deviations over the frames learnt."""
    values = values.astype(np.float64) - values[learnt].mean(0)
    spread, axes = np.linalg.eigh(values[learnt].T @ values[learnt] / len(learnt))
    scale = np.sqrt(np.maximum(spread[::-1][:count], 1e-18))
    return values @ axes[:, ::-1][:, :count] / scale


def _around(sound: np.ndarray, fps: float) -> np.ndarray:
    """(N, K) → (N, 5·K): at every frame what is heard before and after it, too."""
    own = np.arange(len(sound))
    return np.concatenate([sound[np.clip(own + round(s * fps), 0, len(own) - 1)] for s in AROUND_S], axis=1)


def _unexplained(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return values - by @ _regression(by, values)


def _regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (K, M) of y (n, M) over x (n, K), both without their means; x in about standard deviations."""
    return np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
