"""Seeded batches of frame numbers."""

from __future__ import annotations

import numpy as np

from ..intervals import run_starts


def sample(frames: np.ndarray, batch: int, seed: int, step: int) -> np.ndarray:
    """(batch,) of the frames, the same for the same seed and step: a run that resumes sees what it would have seen."""
    return np.sort(np.random.default_rng((seed, step)).choice(frames, batch, replace=len(frames) < batch))


def sample_runs(frames: np.ndarray, shots: np.ndarray, length: int, count: int, seed: int, step: int) -> np.ndarray:
    """(count, length) of consecutive frames of one shot each, all of them among `frames`; seeded like `sample`."""
    starts = run_starts(frames, shots, length)
    chosen = np.random.default_rng((seed, step, length)).choice(starts, count, replace=len(starts) < count)
    return chosen[:, None] + np.arange(length)
