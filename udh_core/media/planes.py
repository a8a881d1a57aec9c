"""A picture as its planes Y, U and V of 4:2:0, 8 bit, one below the other in an array (H * 3 / 2, W)."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame

PIXELS = ("yuv420p", "yuvj420p")  # libav's names: both are stored alike
Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


def split(picture: np.ndarray) -> Planes:
    """Views of Y (H, W), U and V (H / 2, W / 2) in a contiguous picture (H * 3 / 2, W) uint8; H and W are even."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    u, v = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], u, v


def from_frame(frame: VideoFrame) -> np.ndarray:
    """(H * 3 / 2, W) uint8, a copy of a decoded frame of one of PIXELS and an even size."""
    picture = np.empty((frame.height * 3 // 2, frame.width), np.uint8)
    for plane, part in zip(frame.planes, split(picture), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        part[:] = rows[: plane.height, : plane.width]
    return picture


def part_of(picture: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """(h * 3 / 2, w) uint8: a part of a picture in planes; rows and columns begin and end at even numbers."""
    y, u, v = split(picture)
    part = np.empty(((rows.stop - rows.start) * 3 // 2, columns.stop - columns.start), np.uint8)
    part_y, part_u, part_v = split(part)
    part_y[:] = y[rows, columns]
    part_u[:] = u[halved(rows), halved(columns)]
    part_v[:] = v[halved(rows), halved(columns)]
    return part


def halved(part: slice) -> slice:
    """Rows or columns of Y, even, as those of U and V."""
    return slice(part.start // 2, part.stop // 2)
