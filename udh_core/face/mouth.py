"""The shape of the mouth: lips and jaw in face units, and how far the lips are open.

There are two measures of an open mouth, for two kinds of input. `mouth_opening` takes landmarks as the face mesh finds
them in a picture, at any tilt and size of the head; whatever is seen in real or rendered frames is measured by it.
`lip_gap` takes mouth shapes, which the motion network predicts and of which there are no landmarks: they stand upright
in face units, so the gap is a difference of heights. It is signed: lips that are predicted to overlap are below 0.
"""

from __future__ import annotations

import numpy as np

from .crop import CropSpec, eye_distance, in_crop
from .topology import INNER_LIP_BOTTOM, INNER_LIP_TOP, JAW, LIPS, NOSE

_TOP, _BOTTOM = LIPS.index(INNER_LIP_TOP), LIPS.index(INNER_LIP_BOTTOM)  # rows of a mouth shape


def mouth_shape(landmarks: np.ndarray, transforms: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(N, 53, 2) float32 lips and jaw in face units relative to the nose, as the aligned crop shows them.

    landmarks: (N, 468, 2) source px. transforms: (N, 2, 3) source px → crop px. NaN where they are.
    """
    local = in_crop(landmarks[:, LIPS + JAW + NOSE], transforms) / spec.px_per_unit
    lips_and_jaw, nose = local[:, : len(LIPS) + len(JAW)], local[:, len(LIPS) + len(JAW) :]
    return (lips_and_jaw - nose.mean(1, keepdims=True)).astype(np.float32)


def lip_gap(shapes: np.ndarray) -> np.ndarray:
    """(N,) signed gap of the inner lips of `mouth_shape`s (N, 53, 2), face units."""
    return shapes[:, _BOTTOM, 1] - shapes[:, _TOP, 1]


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(…,) float32 ≥ 0: gap of the inner lips over the distance of the outer eye corners, from (…, 468, 2)."""
    gap = np.linalg.norm(landmarks[..., INNER_LIP_TOP, :] - landmarks[..., INNER_LIP_BOTTOM, :], axis=-1)
    return gap / np.maximum(eye_distance(landmarks), 1e-6)
