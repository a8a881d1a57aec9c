"""Boxes of pictures in planes as RGB, converted as reading converts whole pictures."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from ..files import scratch_folder
from .canvas import SCALER, bt709_steps, graph_of
from .colours import FULL_RANGE, Colours
from .planes import part_of, to_frame

AROUND = 8  # px beside a box that its chroma is interpolated from; an even number
SIZE_STEP = 64  # px that boxes are enlarged to, so that few sizes occur: filters are made for each


class _Filters(threading.local):
    """Each thread's own, by the size (width, height) they are for."""

    def __init__(self) -> None:
        self.of_size: dict[tuple[int, int], Graph] = {}


class RgbBoxes:
    """Converts boxes of pictures (H * 3 / 2, W) to RGB. Filters are kept for every size that occurs."""

    def __init__(self, colours: Colours) -> None:
        self.colours = colours
        self._filters = _Filters()

    def rgb(self, picture: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, 3) uint8 RGB of a box, the same as in the whole picture converted."""
        wide_rows = _widened(rows, picture.shape[0] * 2 // 3)
        wide_columns = _widened(columns, picture.shape[1])
        frame = to_frame(part_of(picture, wide_rows, wide_columns))
        frame.colorspace, frame.color_primaries = self.colours.matrix, self.colours.primaries
        frame.color_trc = self.colours.transfer
        frame.color_range = FULL_RANGE if self.colours.full_range else 1
        graph = self._graph(frame)
        graph.push(frame)
        made = graph.pull().to_ndarray()  # type: ignore[union-attr]
        return made[_inside(rows, wide_rows), _inside(columns, wide_columns)]

    def _graph(self, frame: VideoFrame) -> Graph:
        graphs, size = self._filters.of_size, (frame.width, frame.height)
        if size not in graphs:
            with scratch_folder() as scratch:
                to_rgb = [("scale", {"flags": SCALER}), ("format", {"pix_fmts": "rgb24"})]
                graphs[size] = graph_of(frame, [*bt709_steps(frame, Path(scratch)), *to_rgb], threads=1)
        return graphs[size]


def _widened(part: slice, whole: int) -> slice:
    """Rows or columns with AROUND beside them; a multiple of SIZE_STEP where the picture, `whole` px, has so many."""
    start, stop = max(part.start // 2 * 2 - AROUND, 0), min(part.stop + AROUND, whole)
    length = min(-(-(stop - start) // SIZE_STEP) * SIZE_STEP, whole)
    start = min(start, whole - length)
    return slice(start, start + length)


def _inside(part: slice, wide: slice) -> slice:
    return slice(part.start - wide.start, part.stop - wide.start)
