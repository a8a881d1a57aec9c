"""Colours of a face in two clips of one person: a generator draws in those of its own, and is shown another in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..face import crop
from ..face.crop import CropSpec

_FACE = ((-0.6, -0.25), (0.6, 0.45))  # left, top and right, bottom of what is compared, face units: brows to cheeks
_GAINS = (0.5, 2.0)  # of contrast, at most: what differs more is no light


@dataclass(frozen=True)
class Tint:
    """A crop of the clip is gain · one of the generator's own + offset; both may differ between R, G and B."""

    gain: np.ndarray  # (3,) float32
    offset: np.ndarray  # (S, 3) float32, grey levels, by column: the light may come from another side

    def to_generators(self, crops: np.ndarray) -> np.ndarray:
        """(B, S, S, 3) uint8 RGB of the clip, in the generator's colours."""
        return _to_uint8((crops - self.offset) / self.gain)

    def to_clips(self, crops: np.ndarray) -> np.ndarray:
        """(B, S, S, 3) uint8 RGB as the generator draws them, in the clip's colours."""
        return _to_uint8(crops * self.gain + self.offset)


def fit_tint(generators: np.ndarray, clips: np.ndarray, spec: CropSpec) -> Tint:
    """From the mean of the generator's crops to that of the clip's, (S, S, 3) float32 RGB 0..255 each.

    By least squares over the part of the face that is never redrawn. It lies at the same place in all crops, so that
    pixels can be compared one by one.
    """
    (left, top), (right, bottom) = np.rint(crop.to_crop_px(np.array(_FACE, np.float32), spec)).astype(int)
    face = np.zeros((spec.size, spec.size), bool)
    face[max(top, 0) : bottom, left:right] = True
    face &= ~crop.hidden(spec)
    across = np.linspace(-1, 1, spec.size, dtype=np.float32)
    place = np.broadcast_to(across, face.shape)[face]
    flat = np.stack([place, np.ones_like(place)], -1)
    gain, slopes = np.empty(3, np.float32), np.empty((2, 3), np.float32)
    for channel in range(3):
        own, other = generators[..., channel][face], clips[..., channel][face]
        gain[channel] = np.clip(np.linalg.lstsq(np.column_stack([own, flat]), other, rcond=None)[0][0], *_GAINS)
        slopes[:, channel] = np.linalg.lstsq(flat, other - gain[channel] * own, rcond=None)[0]
    return Tint(gain, across[:, None] * slopes[0] + slopes[1])


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
