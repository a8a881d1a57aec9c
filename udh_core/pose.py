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

    stable: (N, Q, 2) float32 where the points that speech does not move lie in the crop; shots: (N,) the frames' shots.
    """
    angles = np.clip(_components(stable.reshape(len(stable), -1), learnt, COMPONENTS), -4, 4)
    parts = np.split(angles, np.flatnonzero(np.diff(shots)) + 1)
    smooth = [gaussian_filter1d(part, SMOOTH_S * fps, axis=0, mode="nearest") for part in parts]
    return np.concatenate(smooth).astype(np.float32)


def without_pose(points: np.ndarray, pose: np.ndarray, heard: np.ndarray, learnt: np.ndarray, fps: float) -> np.ndarray:
    """points (N, P, 2) float32 with what turning and nodding explain taken out, a regression over the frames `learnt`.

    pose: (N, COMPONENTS), see `head_pose`; learnt: (n,); heard: (N, D) float32 features of the sound.
    """
    flat = points.reshape(len(points), -1).astype(np.float64)
    pose = pose[:, :ANGLES].astype(np.float64)
    terms = np.column_stack([pose, *(pose[:, i] * pose[:, k] for i in range(ANGLES) for k in range(i, ANGLES))])
    terms -= terms[learnt].mean(0)
    sound = _around(_components(heard, learnt, HEARD), fps)[learnt]
    x, y = (_unexplained(part - part.mean(0), sound - sound.mean(0)) for part in (terms[learnt], flat[learnt]))
    return (flat - terms @ _regression(x, y)).reshape(points.shape).astype(np.float32)


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
