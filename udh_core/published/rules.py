"""The rules of the published system (Ultralight-Digital-Human): its crop, its network's input, its audio window.

A baseline is only one when it is faithful: bilinear resizing, whole px, truncation and the hard square are the
original's. No torch in here. Crops outside are RGB like everywhere; its networks see BGR.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from ..errors import FormatError
from ..face.topology import (
    BETWEEN_BROWS,
    CONTOUR_LEFT,
    CONTOUR_RIGHT,
    PFLD_BETWEEN_BROWS,
    PFLD_CONTOUR_LEFT,
    PFLD_CONTOUR_RIGHT,
    PFLD_COUNT,
)

POINTS = PFLD_COUNT  # landmarks of a frame in its data folders
CROP, INPUT, BORDER = 168, 160, 4  # px: the crop, what the network sees of it, what lies around that
HIDDEN = (slice(5, 150), slice(5, 155))  # rows and columns of the input that are blacked out
WINDOW = range(-4, 4)  # frames of audio around the one that is drawn
WINDOW_SHAPES = {(2, 1024): (16, 32, 32), (16, 512): (128, 16, 32)}  # by the shape of one frame's features


class Square(NamedTuple):
    """A square of the source frame, px; side 0 where there is no face."""

    x: int
    y: int
    side: int


def square(landmarks: np.ndarray) -> Square:
    """The crop of landmarks (110, 2), px of the source frame."""
    return _square(landmarks, PFLD_CONTOUR_RIGHT, PFLD_CONTOUR_LEFT, PFLD_BETWEEN_BROWS)


def mesh_square(landmarks: np.ndarray) -> Square:
    """The same crop from our landmarks (468, 2) float32; side 0 where they are NaN, or the head is turned away."""
    if not np.isfinite(landmarks).all():
        return Square(0, 0, 0)
    return _square(np.rint(landmarks), CONTOUR_RIGHT, CONTOUR_LEFT, BETWEEN_BROWS)


def _square(landmarks: np.ndarray, left: int, right: int, top: int) -> Square:
    x, end, y = int(landmarks[left, 0]), int(landmarks[right, 0]), int(landmarks[top, 1])
    return Square(x, y, max(end - x, 0))


def inside(shape: tuple[int, ...], place: Square) -> tuple[slice, slice]:
    """Rows and columns of a frame of this shape that a square covers; both are empty where it covers nothing.

    What reaches beyond the frame is cut off, and the rest stretched to the crop: so does the original.
    """
    rows = slice(max(place.y, 0), min(place.y + place.side, shape[0]))
    columns = slice(max(place.x, 0), min(place.x + place.side, shape[1]))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return slice(0, 0), slice(0, 0)
    return rows, columns


def crop(frame: np.ndarray, place: Square) -> np.ndarray:
    """(168, 168, 3) uint8 RGB of a frame (H, W, 3) uint8 RGB; zeros where the square covers nothing of it."""
    region = frame[inside(frame.shape, place)]
    if not region.size:
        return np.zeros((CROP, CROP, 3), np.uint8)
    return cv2.resize(region, (CROP, CROP), interpolation=cv2.INTER_LINEAR)


def paste(frame: np.ndarray, drawn: np.ndarray, place: Square) -> np.ndarray:
    """The frame (H, W, 3) uint8 with a crop (168, 168, 3) uint8 back in its square, hard edges as in the original."""
    rows, columns = inside(frame.shape, place)
    result = frame.copy()
    if rows.stop:
        size = (columns.stop - columns.start, rows.stop - rows.start)
        result[rows, columns] = cv2.resize(drawn, size, interpolation=cv2.INTER_LINEAR)
    return result


def network_input(crops: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Crops and references (B, 168, 168, 3) uint8 RGB → (B, 6, 160, 160) float32 BGR 0..1.

    In training a reference is another frame of the clip; at rendering it is the very crop that is redrawn, mouth and
    all.
    """
    inner = slice(BORDER, BORDER + INPUT)
    covered = crops[:, inner, inner, ::-1].copy()
    covered[:, HIDDEN[0], HIDDEN[1]] = 0
    both = np.concatenate([references[:, inner, inner, ::-1], covered], axis=3)
    return np.ascontiguousarray(both.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def network_target(crops: np.ndarray) -> np.ndarray:
    """Crops (B, 168, 168, 3) uint8 RGB → (B, 3, 160, 160) float32 BGR 0..1, what the network shall draw."""
    inner = crops[:, BORDER : BORDER + INPUT, BORDER : BORDER + INPUT, ::-1]
    return np.ascontiguousarray(inner.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def with_drawn(crops: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Crops (B, 168, 168, 3) uint8 RGB with what the network drew, (B, 3, 160, 160) float32 BGR 0..1, inside."""
    result = crops.copy()
    inner = slice(BORDER, BORDER + INPUT)
    result[:, inner, inner] = (drawn * 255).astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1]
    return result


def audio_windows(features: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Features (N, 2, 1024) of hubert or (N, 16, 512) of wenet around frames (B,) → (B, C, h, w) float32.

    Eight frames from i − 4 to i + 3; beyond the ends there are zeros.
    """
    shape = WINDOW_SHAPES.get(features.shape[1:])
    if shape is None:
        raise FormatError(f"features of {features.shape[1:]} per frame; (2, 1024) or (16, 512) are needed")
    rows = np.asarray(frames)[:, None] + np.array(WINDOW)
    known = (rows >= 0) & (rows < len(features))
    window = features[np.clip(rows, 0, len(features) - 1)] * known[..., None, None]
    return np.ascontiguousarray(window, np.float32).reshape(-1, *shape)
