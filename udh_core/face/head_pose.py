"""Taking the head's pose out of the shape of the mouth: what is left is what speech does, and sound can predict.

Turning and nodding move lips and jaw in the picture more than speaking does: 78 % of the variance of the news presenter
and of the GRID speaker. Who speaks also nods, so a plain regression on the pose takes some of the speech along (on GRID
the opening that is left correlates with the real one by 0.97); what the sound explains is therefore taken out of both
sides first, and the residuals regressed on each other (0.99): the partial regression of Frisch, Waugh and Lovell.
"""

from __future__ import annotations

import numpy as np

from .crop import CropSpec, in_crop
from .smoothing import smooth_known
from .topology import STABLE_POINTS

COMPONENTS = 4  # of the places of what speech does not move
ANGLES = 2  # the first of them: turning and nodding
SMOOTH_S = 0.12  # standard deviation: the mesh lets a little of a moving mouth into its eyes and nose
AUDIO_COMPONENTS = 24  # principal components of the audio features
AROUND_S = (-0.24, -0.12, 0.0, 0.12, 0.24)  # taken at these times around a frame
_RIDGE = 0.003


def stable_places(landmarks: np.ndarray, transforms: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(N, 12, 2) float32 where the points that speech does not move lie in the aligned crop, face units."""
    return (in_crop(landmarks[:, STABLE_POINTS], transforms) / spec.px_per_unit).astype(np.float32)


def head_pose(stable: np.ndarray, shots: np.ndarray, train_frames: np.ndarray, fps: float) -> np.ndarray:
    """(N, COMPONENTS) float32 how the head is turned, in standard deviations over `train_frames` (n,).

    stable: (N, Q, 2) float32 where the points that speech does not move lie in the crop, NaN where the face is lost:
    such frames get the mean pose, 0, and no weight in the pose of their neighbours. shots: (N,) the frames' shots.
    """
    flat, known = _with_mean_where_lost(stable, train_frames)
    angles = np.clip(_components(flat, train_frames, COMPONENTS), -4, 4)
    return smooth_known(angles, known, shots, SMOOTH_S * fps).astype(np.float32)


def without_pose(
    points: np.ndarray, pose: np.ndarray, features: np.ndarray, train_frames: np.ndarray, fps: float
) -> np.ndarray:
    """points (N, P, 2) float32 with what turning and nodding explain taken out, a regression over `train_frames`.

    Points are NaN where the face is lost: such frames get the mean shape. pose: (N, COMPONENTS), see `head_pose`;
    train_frames: (n,) int; features: (N, D) float32 audio features at the frames.
    """
    flat, known = _with_mean_where_lost(points, train_frames)
    pose = pose[:, :ANGLES].astype(np.float64)
    terms = np.column_stack([pose, *(pose[:, i] * pose[:, k] for i in range(ANGLES) for k in range(i, ANGLES))])
    terms -= terms[train_frames].mean(0)
    terms[~known] = 0.0
    audio = _around(_components(features, train_frames, AUDIO_COMPONENTS), fps)[train_frames]
    audio -= audio.mean(0)
    x = _unexplained(terms[train_frames] - terms[train_frames].mean(0), audio)
    y = _unexplained(flat[train_frames] - flat[train_frames].mean(0), audio)
    return (flat - terms @ _regression(x, y)).reshape(points.shape).astype(np.float32)


def _with_mean_where_lost(places: np.ndarray, train_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, P, 2) → (N, 2·P) float64, the mean of the training frames in place of NaN, and (N,) bool where none was."""
    flat = places.reshape(len(places), -1).astype(np.float64)
    known = np.asarray(np.isfinite(flat).all(axis=1))
    return np.where(known[:, None], flat, flat[train_frames].mean(0)), known


def _components(values: np.ndarray, train_frames: np.ndarray, count: int) -> np.ndarray:
    """(N, D) → (N, count) principal components, in standard deviations over the training frames."""
    values = values.astype(np.float64) - values[train_frames].mean(0)
    spread, axes = np.linalg.eigh(values[train_frames].T @ values[train_frames] / len(train_frames))
    scale = np.sqrt(np.maximum(spread[::-1][:count], 1e-18))
    return values @ axes[:, ::-1][:, :count] / scale


def _around(sound: np.ndarray, fps: float) -> np.ndarray:
    """(N, K) → (N, 5·K): at every frame the sound before and after it, too."""
    own = np.arange(len(sound))
    return np.concatenate([sound[np.clip(own + round(s * fps), 0, len(own) - 1)] for s in AROUND_S], axis=1)


def _unexplained(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return values - by @ _regression(by, values)


def _regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (K, M) of y (n, M) over x (n, K), both without their means; x in about standard deviations."""
    return np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
