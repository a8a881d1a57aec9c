"""Long waveforms in blocks: joined, nothing shows where the blocks were."""

from __future__ import annotations

import numpy as np
import pytest

from udh_core.speech import chunking


@pytest.mark.parametrize("total", [1, 9, 40, 41, 68, 69, 500])
def test_overlap_add_joins_blocks_without_a_trace_of_their_edges(total: int) -> None:
    def encode(first: int, rows: int) -> np.ndarray:
        values = np.arange(first, first + rows, dtype=np.float32)
        values[: 5 if first else 0] = 1e6  # what a model without context returns
        values[rows - 5 if first + rows < total else rows :] = -1e6
        return values[:, None]

    blocks = list(chunking.overlap_add(total, encode, block_rows=40, margin_rows=5, fade_rows=2))
    assert np.allclose(np.concatenate(blocks)[:, 0], np.arange(total))


@pytest.mark.parametrize(
    ("start", "expected"), [(-2, [9, 9, 1, 2]), (1, [2, 3, 9, 9]), (5, [9, 9, 9, 9]), (-4, [9] * 4)]
)
def test_padded_slice_fills_what_lies_beyond_the_ends(start: int, expected: list[float]) -> None:
    assert chunking.padded_slice(np.array([1, 2, 3], np.float32), start, 4, fill=9).tolist() == expected
