"""Figures of merit as plain functions of arrays."""

from __future__ import annotations

import itertools

import cv2
import numpy as np


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two series (n,); 0 where one of them is constant."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive score (n,) is above a negative one (m,); ties count half.

    The area under the ROC curve is Mann and Whitney's U / (n · m) (Hanley and McNeil 1982).
    """
    from scipy.stats import rankdata

    n, m = len(positive), len(negative)
    u = rankdata(np.concatenate([positive, negative]))[:n].sum() - n * (n + 1) / 2
    return float(u / (n * m))


def offset_accuracy(distances: np.ndarray, offsets: np.ndarray, averaged: int, tolerance: int) -> float:
    """Share of windows whose least distance lies within `tolerance` of offset 0.

    distances (n, offsets) of consecutive windows; every `averaged` of them in a row are averaged before the least is
    taken.
    """
    if len(distances) < averaged:
        return 0.0
    means = np.lib.stride_tricks.sliding_window_view(distances, averaged, axis=0).mean(-1)
    return float((np.abs(offsets[means.argmin(1)]) <= tolerance).mean())


def psnr(image: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB, of uint8 images (H, W, 3) where weight (H, W) bool."""
    error = (image[weight].astype(np.float64) - target[weight]) ** 2
    return float(10 * np.log10(255.0**2 / max(float(error.mean()), 1e-6)))


def ssim(image: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of uint8 RGB images (H, W, 3), its map averaged where weight (H, W)."""
    from skimage.metrics import structural_similarity

    rows, columns = (slice(int(i[0]), int(i[-1]) + 1) for i in (np.flatnonzero(weight.any(axis)) for axis in (1, 0)))
    pair = (x[rows, columns] for x in (image, target))
    picture = structural_similarity(*pair, channel_axis=2, data_range=255, full=True)[-1]
    return float(picture[weight[rows, columns]].mean())


def colour_drift(image: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """CIEDE2000 difference of the mean colours of uint8 RGB images (H, W, 3) where weight (H, W) bool."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    means = (x[weight].mean(0)[None, None] / 255.0 for x in (image, target))
    return float(deltaE_ciede2000(*(rgb2lab(mean) for mean in means))[0, 0])


def edge_strength(image: np.ndarray, weight: np.ndarray) -> float:
    """Mean gradient (Scharr) of a uint8 RGB image (H, W, 3) where weight (H, W) bool."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(np.hypot(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1))[weight].mean())


def flicker(images: np.ndarray, weight: np.ndarray) -> float:
    """Mean absolute second difference over time of consecutive uint8 images (n ≥ 3, H, W, 3) where weight (H, W)."""
    inside = images[:, weight].astype(np.int16)
    return float(np.abs(inside[:-2] - 2 * inside[1:-1] + inside[2:]).mean())


def unexplained_change(images: np.ndarray) -> float:
    """Mean absolute difference of each of consecutive uint8 RGB images (n ≥ 2, H, W, 3) from the one before, after that
    was moved by dense optical flow (DIS, Kroeger et al. 2016): what moves does not count, what comes and goes does.
    """
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.indices(images.shape[1:3], np.float32)
    changes = []
    for before, after in itertools.pairwise(images):
        flow = flow_of.calc(*(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (after, before)), None)  # type: ignore[call-overload]
        places = columns + flow[..., 0], rows + flow[..., 1]
        moved = cv2.remap(before, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        changes.append(cv2.absdiff(after, moved).mean())
    return float(np.mean(changes))


def landmark_distance(points: np.ndarray, truth: np.ndarray) -> float:
    """LMD: mean distance of landmarks (n, P, 2) from the true ones, in their own unit."""
    return float(np.linalg.norm(points - truth, axis=2).mean())


def closure_gap(opening: np.ndarray, truth: np.ndarray, moments: np.ndarray, before: int = 3, after: int = 2) -> float:
    """How much wider than the true mouth (n,) a mouth (n,) stays open where it should shut, mean over `moments` (k,).

    Each is compared at its least opening from `before` to `after` frames around the moment; 0 where it is shut as far.
    """
    near = np.clip(moments[:, None] + np.arange(-before, after + 1), 0, len(opening) - 1)
    return float(np.maximum(opening[near].min(1) - truth[near].min(1), 0).mean())


def sharpness(image: np.ndarray, weight: np.ndarray) -> float:
    """Variance of the Laplacian of a uint8 RGB image (H, W, 3) where weight (H, W) bool."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[weight].var())
