"""Long waveforms in bounded memory: cutting them into overlapping windows, and joining the rows a model returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..media.audio import SAMPLE_RATE_HZ


def row_count(sample_count: int, rate_hz: float) -> int:
    """Rows that cover the waveform; the last may end after it. A row is a whole number of samples long."""
    return -(-sample_count // round(SAMPLE_RATE_HZ / rate_hz))


def overlap_add(
    total: int, encode: Callable[[int, int], np.ndarray], *, block_rows: int, margin_rows: int, fade_rows: int
) -> Iterator[np.ndarray]:
    """Rows 0 … total-1 from overlapping calls encode(first, rows) → (rows, D).

    At an inner edge `margin_rows` are thrown away (the model lacked context there) and the next `fade_rows` blend into
    the neighbouring block. One block and one fade are in memory at a time.
    """
    stride = block_rows - 2 * margin_rows - fade_rows
    ramp = ((np.arange(fade_rows, dtype=np.float32) + 0.5) / fade_rows)[:, None]
    tail: np.ndarray | None = None
    for first in range(0, total, stride):
        rows = encode(first, min(block_rows, total - first))
        last = first + block_rows >= total
        if tail is not None:
            rows = rows[margin_rows:]
            rows[:fade_rows] = tail * (1 - ramp) + rows[:fade_rows] * ramp
        if last:
            yield rows
            return
        rows = rows[: len(rows) - margin_rows]
        tail = rows[-fade_rows:].copy()
        yield rows[:-fade_rows]


def padded_slice(waveform: np.ndarray, start: int, length: int, fill: float = 0.0) -> np.ndarray:
    """waveform (n,)[start : start + length] → a copy (length,) float32, `fill` beyond either end."""
    part = np.full(length, fill, np.float32)
    first, last = max(start, 0), min(start + length, len(waveform))
    if first < last:
        part[first - start : last - start] = waveform[first:last]
    return part
