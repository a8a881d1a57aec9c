"""Do the lips meet where they have to? The least gap at every p, b and m beside the true one."""

from __future__ import annotations

import numpy as np

from benchmarks.spoken_text import Phone

BILABIALS = ("P", "B", "M")
AROUND = 1  # frames before and after a phone in which its least gap is looked for: lips close a little before


def bilabials(phones: list[Phone], times_s: np.ndarray) -> list[Phone]:
    """Those within the times (n,) of some frames."""
    return [p for p in phones if p.name in BILABIALS and p.start_s >= times_s[0] and p.end_s <= times_s[-1]]


def gaps(predicted: np.ndarray, true: np.ndarray, times_s: np.ndarray, phones: list[Phone]) -> np.ndarray:
    """(2, k) predicted and true least gap at k of the phones, of openings (n,) at the times (n,) of their sound."""
    around_s = (AROUND + 0.5) * float(np.median(np.diff(times_s)))
    within = [(times_s >= p.start_s - around_s) & (times_s <= p.end_s + around_s) for p in phones]
    least = [(predicted[frames].min(), true[frames].min()) for frames in within if frames.any()]
    return np.array(least).reshape(-1, 2).T


def wider_by(found: np.ndarray, spread: float) -> tuple[float, float]:
    """How much wider the predicted gaps (2, k) are than the true ones, in units of `spread`: mean, and where wider.

    The second counts lips that close further than the true ones as equal to them.
    """
    difference = (found[0] - found[1]) / spread
    return float(difference.mean()), float(np.maximum(difference, 0).mean())


def standardised(opening: np.ndarray) -> np.ndarray:
    """(n,) less its mean, in standard deviations: people's mouths differ in size."""
    return (opening - opening.mean()) / max(float(opening.std()), 1e-9)
