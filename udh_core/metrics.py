"""Figures of merit as plain functions of arrays."""

from __future__ import annotations

import cv2
import numpy as np


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two series (n,); 0 where one of them is constant."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive score (n,) is above a negative one (m,); ties count half."""
    order = np.argsort(np.concatenate([negative, positive]), kind="stable")
    scores = np.concatenate([negative, positive])[order]
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    is_positive = order >= len(negative)
    total = ranks[is_positive].sum() - len(positive) * (len(positive) + 1) / 2
    return float(total / (len(positive) * len(negative)))


def offset_accuracy(distances: np.ndarray, offsets: np.ndarray, averaged: int, tolerance: int) -> float:
    """Share of windows whose least distance lies within `tolerance` of offset 0.

    distances (n, offsets) of consecutive windows; `averaged` of them are averaged before the least is taken.
    """
    groups = len(distances) // averaged
    if groups == 0:
        return 0.0
    means = distances[: groups * averaged].reshape(groups, averaged, -1).mean(1)
    return float((np.abs(offsets[means.argmin(1)]) <= tolerance).mean())


def psnr(image: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB, of uint8 images (H, W, 3) where weight (H, W) bool."""
    error = (image[weight].astype(np.float64) - target[weight]) ** 2
    return float(10 * np.log10(255.0**2 / max(float(error.mean()), 1e-6)))


def sharpness(image: np.ndarray, weight: np.ndarray) -> float:
    """Variance of the Laplacian of a uint8 RGB image (H, W, 3) where weight (H, W) bool."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[weight].var())
