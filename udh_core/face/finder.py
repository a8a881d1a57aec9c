"""Faces of a whole frame that the mesh confirms, down to small ones in large pictures.

The detector sees 128 px. Where it finds too little in the whole frame, smaller and smaller squares of it are searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .detector import MIN_SCORE, FaceBox, FaceDetector, FaceMesh, Square, box_of, prominence, squares, suppress

SMALLEST_SQUARE = 256  # px; a face is found from about a seventh of a square's side on
TINY_SQUARE = 96  # px, where only the reason is looked for why no face was found
_SETTLED = 0.03  # of the face's side: how far it moves from frame to frame; further, landmarks slip
_AROUND = 4.0  # sides of a face: where it is looked for when it was lost
_PLAIN = 3.0  # grey levels by which the pixels of a square without anything in it differ
_SAMPLES = 24  # pixels along a square's side by which that is seen


@dataclass(frozen=True)
class Face:
    """A face that the mesh has confirmed."""

    box: FaceBox  # of the landmarks
    landmarks: np.ndarray  # (468, 2) float32, x y in source-frame px
    score: float  # 0..1, the mesh's confidence


@dataclass(frozen=True)
class Wanted:
    """When a search may end: `count` faces are found, and one of them at the point, where one is given."""

    count: float = 1
    point: tuple[float, float] | None = None  # x y, px

    def met(self, faces: list[Face]) -> bool:
        """Whether these faces are enough."""
        there = self.point is None or any(is_at(face.box, self.point) for face in faces)
        return there and len(faces) >= self.count


class FaceFinder:
    """Detector and mesh together."""

    def __init__(self, models: Path | None = None) -> None:
        self._detector, self._mesh = FaceDetector(models), FaceMesh(models)

    def follow(self, frame: np.ndarray, box: FaceBox) -> Face | None:
        """The face that was at `box` in the frame before (H, W, 3) uint8 RGB; None where the mesh is unsure."""
        landmarks, score = self._mesh.locate(frame, box)
        return None if score < MIN_SCORE else self._settled(frame, box, landmarks, score)

    def find(
        self, frame: np.ndarray, wanted: Wanted = Wanted(), *, near: FaceBox | None = None, thorough: bool = True
    ) -> list[Face]:
        """Faces of a frame (H, W, 3) uint8 RGB, the largest and most central first.

        A search that does not find what is `wanted` goes on around `near` and, where it is `thorough`, in squares
        down to SMALLEST_SQUARE; that takes 0.3 s for a frame of 3840×2160.
        """
        faces = self._confirmed(frame, self._detector.find(frame))
        height, width = frame.shape[:2]
        spots = [] if near is None else [(near.x, near.y, _AROUND * near.side)]
        if thorough and wanted.point is not None:
            spots += [(*wanted.point, side) for side in _sides(width, height, SMALLEST_SQUARE)]
        stages = [[_around(*spot, width, height)] for spot in spots]
        if thorough:
            stages += [list(squares(width, height, side)) for side in _sides(width, height, SMALLEST_SQUARE)]
        for parts in stages:
            if wanted.met(faces):
                break
            faces = self._with_more(frame, faces, parts)
        return _by_prominence(faces, frame.shape)

    def find_all(self, frame: np.ndarray) -> list[Face]:
        """All faces that are large enough, whichever is meant; takes 0.3 s for a frame of 3840×2160."""
        return self.find(frame, Wanted(math.inf))

    def find_tiny(self, frame: np.ndarray) -> list[Face]:
        """Faces too small to be of use, the largest and most central first; takes seconds for a large frame."""
        height, width = frame.shape[:2]
        faces: list[Face] = []
        for side in _sides(width, height, TINY_SQUARE):
            if not faces:
                faces = self._with_more(frame, faces, list(squares(width, height, side)))
        return _by_prominence(faces, frame.shape)

    def _with_more(self, frame: np.ndarray, faces: list[Face], parts: list[Square]) -> list[Face]:
        boxes = self._detector.search(frame, (part for part in parts if _shows_something(frame, part)))
        return _apart([*faces, *self._confirmed(frame, suppress(boxes))])

    def _confirmed(self, frame: np.ndarray, boxes: list[FaceBox]) -> list[Face]:
        faces = [self._settled(frame, box, *self._mesh.locate(frame, box)) for box in boxes]
        return _apart([face for face in faces if face is not None])

    def _settled(self, frame: np.ndarray, box: FaceBox, landmarks: np.ndarray, score: float) -> Face | None:
        """The mesh once more, where it looked at a box that is not that of its landmarks."""
        if _needs_refinement(box, box_of(landmarks)):
            landmarks, score = self._mesh.locate(frame, box_of(landmarks))
        return None if score < MIN_SCORE else Face(box_of(landmarks), landmarks, score)


def is_at(box: FaceBox, point: tuple[float, float]) -> bool:
    """Whether somebody who points at x y (px) can mean the face of this box: it, or its hair, or its neck."""
    return float(np.hypot(box.x - point[0], box.y - point[1])) <= box.side


def _needs_refinement(box: FaceBox, face: FaceBox) -> bool:
    """True if the mesh ran on a box so far off, of such another size or so turned that it has to run once more."""
    moved = float(np.hypot(box.x - face.x, box.y - face.y))
    grown, turned = abs(box.side - face.side), abs(box.angle - face.angle) * face.side
    return max(moved, grown, turned) > _SETTLED * face.side


def _by_prominence(faces: list[Face], shape: tuple[int, ...]) -> list[Face]:
    return sorted(faces, key=lambda face: prominence(face.box, shape), reverse=True)


def _apart(faces: list[Face]) -> list[Face]:
    """One of those that lie upon each other, the first."""
    kept: list[Face] = []
    for face in faces:
        box = face.box
        if all(np.hypot(box.x - k.box.x, box.y - k.box.y) > 0.5 * max(box.side, k.box.side) for k in kept):
            kept.append(face)
    return kept


def _sides(width: int, height: int, smallest: int) -> Iterator[float]:
    """Of the squares to search beyond those of the detector's own first look, px: halved down to `smallest`."""
    side = max(width, height) / 4
    while side >= smallest:
        yield side
        side /= 2


def _around(x: float, y: float, side: float, width: int, height: int) -> Square:
    """The square of this side around a place, moved into the frame where it is smaller than that."""
    left, top = (max(0.0, min(at - side / 2, length - side)) for at, length in ((x, width), (y, height)))
    return left, top, side


def _shows_something(frame: np.ndarray, part: Square) -> bool:
    """Whether a square of a frame is more than a plain area, such as the border that fills up a format."""
    x, y, side = (int(value) for value in part)
    step = max(1, side // _SAMPLES)
    return float(frame[y : y + side : step, x : x + side : step].std()) > _PLAIN
