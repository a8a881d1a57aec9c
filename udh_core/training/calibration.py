"""What is fitted after training: rest pose, amplitude and sharpness."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..avatar.dataset import TrainingData
from ..face.detector import FaceMesh, box_of
from ..face.mouth import mouth_opening
from ..models.tensors import to_input, to_uint8
from ..models.warping import WarpNet
from ..speech.activity import away_from_speech

APART_S = 0.2  # this close to speech a mouth may move already, or still
MIN_FRAMES = 10  # in pauses, to learn from
QUIETEST, CLOSED = 1 / 3, 0.05  # part with the least opening: of the pauses, and of everything where those are too few


def rest_shape(data: TrainingData, shapes: Tensor) -> Tensor:
    """(shape_width,) mouth this person rests with, of the shapes (N, shape_width) of all frames."""
    pauses = away_from_speech(data.spoken, round(APART_S * float(data.avatar.info.fps)))
    frames, part = data.train_frames[pauses[data.train_frames]], QUIETEST
    if len(frames) < MIN_FRAMES:
        frames, part = data.train_frames, CLOSED
    order = np.argsort(mouth_opening(data.landmarks[frames]))
    return shapes[frames[order[: max(1, round(part * len(frames)))]]].mean(0)


# Slope of the drawn opening over the real one. Chosen on the held-out part of two clips: predicted shapes can move more
# than true ones, and with 0.95 the news presenter's mouth moved 1.19 times as much as the real one.
AMPLITUDE_GOAL = 0.9
MAX_AMPLITUDE = 1.4
_BATCH = 8


@torch.no_grad()
def calibrate_amplitude(
    warp: WarpNet, mesh: FaceMesh, crops: np.ndarray, steered: Tensor, landmarks: np.ndarray
) -> None:
    """Set `warp.amplitude` by learnt crops (n, S, S, 3) uint8 and what steers them (n, frames, shape_width).

    landmarks: (n, 468, 2) float32 of their faces, in px of the crops.
    """
    real = openings(mesh, crops, landmarks)
    reaches = np.array([1.0, MAX_AMPLITUDE])
    slopes = []
    for reach in reaches:
        warp.amplitude.fill_(reach)
        opening = openings(mesh, _drawn(warp, crops, steered), landmarks)
        slopes.append(float(np.cov(opening, real)[0, 1] / max(real.var(ddof=1), 1e-12)))
    warp.amplitude.fill_(float(np.interp(AMPLITUDE_GOAL, np.maximum.accumulate(slopes), reaches)))


def _drawn(warp: WarpNet, crops: np.ndarray, steered: Tensor) -> np.ndarray:
    """(n, S, S, 3) uint8."""
    device = warp.mask.device
    parts = [slice(k, k + _BATCH) for k in range(0, len(crops), _BATCH)]
    return np.concatenate([to_uint8(warp(to_input(crops[p]).to(device), steered[p].to(device))) for p in parts])


def openings(mesh: FaceMesh, crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(n,) as the mesh finds them in the crops."""
    pairs = zip(crops, landmarks, strict=True)
    return mouth_opening(np.stack([mesh.locate(crop, box_of(points))[0] for crop, points in pairs]))


MAX_SHARPENING = 1.0  # of the detail that is there may be added


@torch.no_grad()
def calibrate_sharpness(warp: WarpNet, crops: np.ndarray, steered: Tensor) -> None:
    """Set `warp.sharpening` by learnt crops (n, S, S, 3) uint8 and what steers them (n, frames, shape_width)."""
    plain, more = (_drawn_sharp(warp, crops, steered, detail) for detail in (0.0, MAX_SHARPENING))
    weight = warp.mask[0, 0].cpu().numpy() > 0.5
    real = np.mean([metrics.sharpness(crop, weight) for crop in crops])
    shares = np.linspace(0, 1, 6)
    found = [
        np.mean([metrics.sharpness(image, weight) for image in to_uint8(torch.lerp(plain, more, float(share)))])
        for share in shares
    ]
    warp.sharpening.fill_(MAX_SHARPENING * float(np.interp(real, np.maximum.accumulate(found), shares)))


def _drawn_sharp(warp: WarpNet, crops: np.ndarray, steered: Tensor, detail: float) -> Tensor:
    """(n, 3, S, S); linear in `detail`."""
    warp.sharpening.fill_(detail)
    device = warp.mask.device
    parts = [slice(k, k + _BATCH) for k in range(0, len(crops), _BATCH)]
    return torch.cat([warp(to_input(crops[p]).to(device), steered[p].to(device)).cpu() for p in parts])
