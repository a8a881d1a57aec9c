"""Similarities of the plane: turn, scale and shift that bring points to others."""

from __future__ import annotations

import numpy as np


def similarities(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(N, 2, 3) float32 similarities that bring points (N, P, 2) as near as can be to other places (P, 2).

    The least-squares similarity between two point sets in closed form (Procrustes without reflection, Umeyama 1991; in
    two dimensions its rotation and scale are one complex number).
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    source_mean, target_mean = source.mean(1, keepdims=True), target.mean(0)
    s, t = source - source_mean, target - target_mean
    norm = (s**2).sum((1, 2))
    a = (s * t).sum((1, 2)) / norm
    b = (s[..., 0] * t[:, 1] - s[..., 1] * t[:, 0]).sum(1) / norm
    linear = np.stack([np.stack([a, -b], -1), np.stack([b, a], -1)], 1)
    shift = target_mean - np.einsum("nij,nj->ni", linear, source_mean[:, 0])
    return np.concatenate([linear, shift[..., None]], -1).astype(np.float32)
