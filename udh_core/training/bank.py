"""The bank of a `RetrievalWarpNet`: which crops are in it, and where nothing is blended."""

from __future__ import annotations

import torch
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..face.topology import LIPS
from ..models.retrieval_warp import RetrievalWarpNet
from .guide import by_landmarks, cells_of, fit_guide, places_in_crop, spread_frames

_AROUND_LIPS = 0.04  # of the crop's width: so far around the lips nothing is blended, and as far again less; chosen
_PERCENTILES = (2, 98)  # of where the lips are: a single wide frame does not count; chosen


def fit_bank(warp: RetrievalWarpNet, data: TrainingData, shapes: Tensor, seed: int) -> None:
    """Fill the bank and fit what is computed from it. shapes: (N, shape_width) of all frames."""
    described = fit_guide(warp, data, shapes, seed)
    warp.lips.copy_(_near_lips(warp, places_in_crop(data)[:, LIPS]))
    train = data.train_frames
    bank = spread_frames(train, by_landmarks(warp, data, shapes)[train].numpy(), len(warp.references), seed)
    warp.references.copy_(torch.from_numpy(data.crops[bank]).permute(0, 3, 1, 2))
    warp.reference_description.copy_(described(bank))
    warp.bank_frames.copy_(torch.from_numpy(bank))


def _near_lips(warp: RetrievalWarpNet, lips: Tensor) -> Tensor:
    """(h, w) 0..1 of the cells of the box: 1 where the lips are in some frame; lips (n, L, 2) in crop widths."""
    ends = torch.tensor(_PERCENTILES) / 100
    low, high = torch.quantile(lips.amin(1), ends[0], dim=0), torch.quantile(lips.amax(1), ends[1], dim=0)
    outside = torch.maximum(low - cells_of(warp), cells_of(warp) - high).clamp_min(0).norm(dim=-1)
    return (2 - outside / _AROUND_LIPS).clamp(0, 1)
