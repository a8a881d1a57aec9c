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

    mask: np.ndarray  # redrawn by more than half, where a mask reaches furthest
    border: np.ndarray  # where the generator's own mask begins
    skin: np.ndarray  # redrawn though it hardly moves: the own mask without where lips are seen
    lips: tuple[slice, slice]  # rows and columns in which they are seen


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
            "skin_jitter_ratio": self._beside_real(crops, lambda run: metrics.flicker(run, self.areas.skin)),
            "lip_flicker_ratio": self._beside_real(
                crops, lambda run: metrics.unexplained_change(run[(slice(None), *self.areas.lips)])
            ),
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

    def _beside_real(self, crops: np.ndarray, measure: Callable[[np.ndarray], float]) -> float:
        """Of the frames up to the first gap between them, over that of the source."""
        gaps = np.flatnonzero(np.diff(self.held_out.frames) != 1)
        end = int(gaps[0]) + 1 if len(gaps) else None
        return measure(crops[:end]) / max(measure(self.held_out.crops[:end]), 1e-9)

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
    """Of the masks of the crop, and of where the lips of the held-out frames lie in them."""
    own = crop_module.mask(held_out.spec)
    mask = crop_module.mask(held_out.measured) > 0.5
    skin, lips = own > 0.5, _around_lips(held_out)
    skin[lips] = False
    return Areas(mask, (own > 0) & (own < 0.3), skin, lips)


def _around_lips(held_out: HeldOut) -> tuple[slice, slice]:
    """Rows and columns of the rectangle in which lips are seen, and a margin."""
    lips = held_out.landmarks[:, list(topology.LIPS)]
    places = crop_module.in_crop(lips, held_out.transforms[held_out.frames])
    low, high = np.percentile(places.reshape(-1, 2), (1, 99), axis=0)
    margin = 0.1 * (high[0] - low[0])
    last = held_out.spec.size - 1
    left, top = np.clip(np.floor(low - margin), 0, last).astype(int)
    right, bottom = np.clip(np.ceil(high + margin), 0, last).astype(int)
    return slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
