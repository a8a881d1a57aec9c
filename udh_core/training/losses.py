"""Losses: weighted L1, and the contrastive loss of the SyncNet (InfoNCE, van den Oord et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_l1(images: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of (B, 3, H, W) under a weight map (1 or B, 1, H, W)."""
    weight = weight.expand(len(images), 3, -1, -1)
    return ((images - targets).abs() * weight).sum() / weight.sum()


def contrastive(
    mouths: Tensor,
    sounds: Tensor,
    log_temperature: Tensor,
    weights: Tensor | None = None,
    rows: slice = slice(None),
) -> Tensor:
    """InfoNCE both ways over unit embeddings (B, E): row i of one belongs to row i of the other and to no other row.

    weights (B, B): logarithm of how much a pair counts as a negative; −inf leaves it out. The diagonal must be 0.
    rows: those whose mean the loss is; all others are their negatives, too.
    """
    logits = mouths @ sounds.T / log_temperature.exp().clamp(0.01, 1.0)
    if weights is not None:
        logits = logits + weights
    target = torch.arange(len(mouths), device=mouths.device)[rows]
    return (F.cross_entropy(logits[rows], target) + F.cross_entropy(logits.T[rows], target)) / 2
