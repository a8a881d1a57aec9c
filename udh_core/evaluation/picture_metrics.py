"""How the pictures of a row look, against the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from .. import metrics
from ..face import crop as crop_module
from ..face import topology
from ..models.lpips import Lpips
from ..models.tensors import to_input
from .held_out import HeldOut

PICTURES = 100  # frames at most on which a picture is compared
BATCH = 16  # crops that LPIPS looks at at a time


class Areas(NamedTuple):
    """Parts of the crop, (S, S) bool."""

    mask: np.ndarray  # redrawn by more than half
    border: np.ndarray  # where the mask begins
    skin: np.ndarray  # redrawn though it hardly moves: the mask without where lips are seen


@dataclass(frozen=True)
class PictureMetrics:
    """What pictures are measured against, and with."""

    held_out: HeldOut
    areas: Areas
    lpips: Lpips
    box: tuple[slice, slice]  # rows and columns around the mask, for LPIPS

    def no_reference_metrics(self, crops: np.ndarray) -> dict[str, float]:
        """How crops (m, S, S, 3) uint8 compare with the source, whatever their mouths do."""
        pairs = self._pairs(crops)

        def ratio(measure: Callable[[np.ndarray, np.ndarray], float], where: np.ndarray) -> float:
            drawn = sum(measure(one, where) for one, _ in pairs)
            real = sum(measure(other, where) for _, other in pairs)
            return float(drawn / max(real, 1e-9))

        return {
            "sharpness_ratio": ratio(metrics.sharpness, self.areas.mask),
            "seam_ratio": ratio(metrics.edge_strength, self.areas.border),
            "skin_jitter_ratio": self._flicker(crops) / max(self._flicker(self.held_out.crops), 1e-9),
            "colour_drift": float(np.mean([metrics.colour_drift(*pair, self.areas.mask) for pair in pairs])),
        }

    def full_reference_metrics(self, crops: np.ndarray) -> dict[str, float]:
        """How near crops (m, S, S, 3) uint8 come to the true ones, which are those of the source."""
        pairs, mask = self._pairs(crops), self.areas.mask
        return {
            "psnr_db": float(np.mean([metrics.psnr(*pair, mask) for pair in pairs])),
            "ssim": float(np.mean([metrics.ssim(*pair, mask) for pair in pairs])),
            "lpips": self._mean_lpips(crops),
        }

    def _sampled(self) -> np.ndarray:
        """(k,) int64 rows that are compared."""
        return np.unique(np.linspace(0, len(self.held_out.frames) - 1, PICTURES).astype(int))

    def _pairs(self, crops: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(crops[row], self.held_out.crops[row]) for row in self._sampled()]

    def _flicker(self, crops: np.ndarray) -> float:
        """Over the frames up to the first gap between them."""
        gaps = np.flatnonzero(np.diff(self.held_out.frames) != 1)
        return metrics.flicker(crops[: int(gaps[0]) + 1 if len(gaps) else None], self.areas.skin)

    @torch.no_grad()
    def _mean_lpips(self, crops: np.ndarray) -> float:
        sampled, (rows, columns) = self._sampled(), self.box
        values = []
        for start in range(0, len(sampled), BATCH):
            part = sampled[start : start + BATCH]
            drawn = to_input(crops[part][:, rows, columns])
            real = to_input(self.held_out.crops[part][:, rows, columns])
            values.append(self.lpips(drawn, real))
        return float(torch.cat(values).mean())


def find_areas(held_out: HeldOut) -> Areas:
    """Of the crop's mask, and of where the lips of the held-out frames lie in it."""
    alpha = crop_module.mask(held_out.spec)
    mask = alpha > 0.5
    return Areas(mask, (alpha > 0) & (alpha < 0.3), mask & _away_from_lips(held_out))


def _away_from_lips(held_out: HeldOut) -> np.ndarray:
    """(S, S) bool: outside the rectangle in which lips are seen, and a margin."""
    lips = held_out.landmarks[:, list(topology.LIPS)]
    places = crop_module.in_crop(lips, held_out.transforms[held_out.frames])
    (left, top), (right, bottom) = np.percentile(places.reshape(-1, 2), (1, 99), axis=0)
    axis = np.arange(held_out.spec.size) + 0.5
    margin = 0.1 * (right - left)
    beside = (axis < left - margin) | (axis > right + margin)
    above_or_below = (axis < top - margin) | (axis > bottom + margin)
    return beside[None, :] | above_or_below[:, None]
