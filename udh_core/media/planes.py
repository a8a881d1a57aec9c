"""A picture as its planes Y, U and V of 4:2:0, one below the other in an array (H * 3 / 2, W): uint8, or uint16."""

from __future__ import annotations

from typing import Literal

import numpy as np
from av.video.frame import VideoFrame

PIXELS = ("yuv420p", "yuvj420p")  # libav's names of 8 bits: both are stored alike
DEEP_PIXELS: Literal["yuv420p10le"] = "yuv420p10le"  # of 10 bits, in uint16
Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


def split(picture: np.ndarray) -> Planes:
    """Views of Y (H, W), U and V (H / 2, W / 2) in a contiguous picture (H * 3 / 2, W); H and W are even."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    u, v = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], u, v


def from_frame(frame: VideoFrame) -> np.ndarray:
    """(H * 3 / 2, W), a copy of a decoded frame of one of PIXELS, uint8, or DEEP_PIXELS, uint16, and an even size."""
    picture = np.empty((frame.height * 3 // 2, frame.width), _dtype(frame))
    for stored, part in zip(_stored(frame), split(picture), strict=True):
        part[:] = stored
    return picture


def to_frame(picture: np.ndarray) -> VideoFrame:
    """A frame of a picture in planes (H * 3 / 2, W) uint8 or uint16, without any colours named."""
    name = PIXELS[0] if picture.dtype == np.uint8 else DEEP_PIXELS
    frame = VideoFrame(picture.shape[1], picture.shape[0] * 2 // 3, name)
    for stored, part in zip(_stored(frame), split(picture), strict=True):
        stored[:] = part
    return frame


def _dtype(frame: VideoFrame) -> type[np.uint8] | type[np.uint16]:
    return np.uint16 if frame.format.name == DEEP_PIXELS else np.uint8


def _stored(frame: VideoFrame) -> list[np.ndarray]:
    """Views of the planes of a frame, each (h, w)."""
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), _dtype(frame))
        rows = rows.reshape(-1, plane.line_size // rows.itemsize)
        planes.append(rows[: plane.height, : plane.width])
    return planes


def part_of(picture: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """(h * 3 / 2, w): a part of a picture in planes; rows and columns begin and end at even numbers."""
    y, u, v = split(picture)
    part = np.empty(((rows.stop - rows.start) * 3 // 2, columns.stop - columns.start), picture.dtype)
    part_y, part_u, part_v = split(part)
    part_y[:] = y[rows, columns]
    part_u[:] = u[halved(rows), halved(columns)]
    part_v[:] = v[halved(rows), halved(columns)]
    return part


def halved(part: slice) -> slice:
    """Rows or columns of Y, even, as those of U and V."""
    return slice(part.start // 2, part.stop // 2)
