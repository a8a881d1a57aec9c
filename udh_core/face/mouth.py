"""The shape of the mouth: lips and jaw in face units, and how far the lips are open."""

from __future__ import annotations

import numpy as np

from .crop import CropSpec, in_crop
from .topology import INNER_LIP_BOTTOM, INNER_LIP_TOP, JAW, LEFT_EYE_OUTER, LIPS, NOSE, RIGHT_EYE_OUTER


def mouth_shape(landmarks: np.ndarray, transforms: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(N, 53, 2) float32 lips and jaw in face units relative to the nose, as the aligned crop shows them."""
    local = in_crop(landmarks[:, LIPS + JAW + NOSE], transforms) / spec.px_per_unit
    lips_and_jaw, nose = local[:, : len(LIPS) + len(JAW)], local[:, len(LIPS) + len(JAW) :]
    return (lips_and_jaw - nose.mean(1, keepdims=True)).astype(np.float32)


def lip_gap(shapes: np.ndarray) -> np.ndarray:
    """(N,) gap of the inner lips of `mouth_shape`s (N, 53, 2), face units."""
    return shapes[:, LIPS.index(14), 1] - shapes[:, LIPS.index(13), 1]


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(…,) float32: gap of the inner lips over the distance of the outer eye corners, from (…, 468, 2)."""
    gap = np.linalg.norm(landmarks[..., INNER_LIP_TOP, :] - landmarks[..., INNER_LIP_BOTTOM, :], axis=-1)
    eyes = np.linalg.norm(landmarks[..., RIGHT_EYE_OUTER, :] - landmarks[..., LEFT_EYE_OUTER, :], axis=-1)
    return gap / np.maximum(eyes, 1e-6)
