"""Which of a person's own crops become the generator's references: a spread over mouth shape and head pose."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2

from ..avatar.dataset import TrainingData
from ..face.crop import eye_distance
from ..face.mouth import mouth_opening
from ..face.topology import LEFT_EYE_OUTER, MOUTH_LEFT, MOUTH_RIGHT, NOSE_TIP, RIGHT_EYE_OUTER

_CANDIDATES = 8


def choose_references(data: TrainingData, count: int, seed: int) -> np.ndarray:
    """(count,) sorted frame numbers: by k-means over (opening, width, yaw, pitch), sharp ones near the centres."""
    places = _places(data.landmarks[data.train_frames])
    places = (places - places.mean(0)) / (places.std(0) + 1e-6) * np.array([1.0, 0.7, 0.5, 0.5])
    centres, _ = kmeans2(places.astype(np.float64), count, minit="++", rng=np.random.default_rng(seed))
    chosen: list[int] = []
    for centre in centres:
        order = np.argsort(((places - centre) ** 2).sum(1))[: _CANDIDATES + count]
        near = [int(i) for i in data.train_frames[order] if i not in chosen][:_CANDIDATES]
        chosen.append(max(near, key=lambda i: _sharpness(data.crops[i])))
    return np.sort(np.array(chosen))


def _places(landmarks: np.ndarray) -> np.ndarray:
    """(n, 4) opening, width, yaw and pitch of landmarks (n, 468, 2), all over the distance of the eyes."""
    right, left = landmarks[:, RIGHT_EYE_OUTER], landmarks[:, LEFT_EYE_OUTER]
    eyes = left - right
    distance = eye_distance(landmarks)[:, None]
    across, down = eyes / distance, np.stack([-eyes[:, 1], eyes[:, 0]], 1) / distance
    nose = (landmarks[:, NOSE_TIP] - (right + left) / 2) / distance
    width = np.linalg.norm(landmarks[:, MOUTH_LEFT] - landmarks[:, MOUTH_RIGHT], axis=1) / distance[:, 0]
    return np.stack([mouth_opening(landmarks), width, (nose * across).sum(1), (nose * down).sum(1)], 1)


def _sharpness(crop: np.ndarray) -> float:
    lower = cv2.cvtColor(crop[crop.shape[0] // 2 :], cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(lower, cv2.CV_32F).var())
