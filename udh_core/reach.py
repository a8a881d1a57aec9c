"""How much further than it is told a finished pixels network moves the mouth, so that it opens as far as the real one.

Mixing several references pulls every mouth towards the middle. On learnt frames with their true shapes the opening is
found again in what was drawn; what is missing there is added to every shape (in eval mode only).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .face.detector import FaceMesh, box_of
from .face.mouth import mouth_opening
from .models.tensors import to_input, to_uint8
from .models.warping import PixelsNet

# Slope of the drawn opening over the real one. Chosen on the held-out part of two clips: predicted shapes can move more
# than true ones, and with 0.95 the news presenter's mouth moved 1.19 times as much as the real one.
AMPLITUDE_GOAL = 0.9
MAX_AMPLITUDE = 1.4
_BATCH = 8


@torch.no_grad()
def set_reach(pixels: PixelsNet, mesh: FaceMesh, crops: np.ndarray, steered: Tensor, landmarks: np.ndarray) -> None:
    """Set `pixels.reach` by learnt crops (n, S, S, 3) uint8 and what steers them (n, frames, shape_width).

    landmarks: (n, 468, 2) float32 of their faces, in px of the crops.
    """
    real = openings(mesh, crops, landmarks)
    reaches = np.array([1.0, MAX_AMPLITUDE])
    slopes = []
    for reach in reaches:
        pixels.reach.fill_(reach)
        opening = openings(mesh, _drawn(pixels, crops, steered), landmarks)
        slopes.append(float(np.cov(opening, real)[0, 1] / max(real.var(ddof=1), 1e-12)))
    pixels.reach.fill_(float(np.interp(AMPLITUDE_GOAL, np.maximum.accumulate(slopes), reaches)))


def _drawn(pixels: PixelsNet, crops: np.ndarray, steered: Tensor) -> np.ndarray:
    """(n, S, S, 3) uint8."""
    device = pixels.mask.device
    parts = [slice(k, k + _BATCH) for k in range(0, len(crops), _BATCH)]
    return np.concatenate([to_uint8(pixels(to_input(crops[p]).to(device), steered[p].to(device))) for p in parts])


def openings(mesh: FaceMesh, crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(n,) as the mesh finds them in the crops."""
    pairs = zip(crops, landmarks, strict=True)
    return mouth_opening(np.stack([mesh.locate(crop, box_of(points))[0] for crop, points in pairs]))
