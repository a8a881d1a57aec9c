"""Runs of frames: where something holds without a break, and how to say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every stretch of True in (N,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def describe_ranges(ranges: Sequence[tuple[float, float]], fps: float) -> str:
    """Time ranges in words, the first five; [start, stop) in frames, or in seconds with an `fps` of 1."""
    words = [f"{start / fps:.1f}–{stop / fps:.1f} s" for start, stop in ranges[:5]]
    return ", ".join(words) + (f" and {len(ranges) - 5} more" if len(ranges) > 5 else "")


def run_starts(frames: np.ndarray, shots: np.ndarray, length: int) -> np.ndarray:
    """Those of `frames` (sorted) from which `length` consecutive ones of the same shot follow."""
    last = len(frames) - length + 1
    if last < 1:
        return frames[:0]
    ends = frames[length - 1 :]
    return frames[:last][(ends - frames[:last] == length - 1) & (shots[frames[:last]] == shots[ends])]
