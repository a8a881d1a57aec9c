"""Faces from frame to frame: tracking, cuts, and gaps that are filled or left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import NoFaceError
from ..intervals import runs
from .detector import _ROI_SCALE, MIN_SCORE, FaceBox, FaceDetector, FaceMesh, box_of
from .topology import LANDMARK_COUNT, SCHEME

_SETTLED = 0.03  # of the face's side: how far it moves from frame to frame; further, landmarks slip
_CUT_SIDE = 48  # px of the thumbnail on which cuts are found
_CUT_RATIO, _CUT_MIN = 2.5, 3.0  # a cut differs this many times more than its neighbours, and this many grey levels
_CUT_AROUND_S = 0.16  # on either side: the neighbours it is compared with
_ABRUPT = 12.0  # grey levels: the face may be anywhere in the next picture


@dataclass(frozen=True)
class FaceFrame:
    """What was found in one frame."""

    landmarks: np.ndarray | None  # (468, 2) float32, x y in source-frame px; None where no face was found
    score: float  # 0..1, the mesh's own confidence
    change: float  # mean grey levels by which the picture differs from the frame before; 0 for the first


@dataclass(frozen=True)
class FaceTrack:
    """Row i belongs to video frame i; never shorter than the video."""

    landmarks: np.ndarray  # (N, 468, 2) float32, x y in source-frame px; NaN inside gaps that were too long to fill
    transforms: np.ndarray  # (N, 2, 3) float32, source px → crop px, similarity, smoothed; NaN likewise
    valid: np.ndarray  # (N,) bool; False = interpolated or lost, excluded from training
    shot_starts: np.ndarray  # (N,) bool; True at frame 0 and at the first frame after a cut
    scheme: str = SCHEME

    @property
    def present(self) -> np.ndarray:
        """(N,) bool; True where the face is known well enough to render (found or interpolated)."""
        return np.isfinite(self.transforms[:, 0, 0])


def seen_region(box: FaceBox, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a frame of this shape (H, W, …) outside of which the mesh, looking at `box`, sees nothing."""
    half = box.side * _ROI_SCALE / 2 * (abs(np.cos(box.angle)) + abs(np.sin(box.angle))) + 2

    def span(middle: float, length: int) -> slice:
        start = int(np.clip(np.floor(middle - half), 0, length - 1))
        return slice(start, int(np.clip(np.ceil(middle + half), start + 1, length)))

    return span(box.y, shape[0]), span(box.x, shape[1])


def _needs_refinement(box: FaceBox, face: FaceBox) -> bool:
    """True if the mesh ran on a box so far off, of such another size or so turned that it has to run once more."""
    moved = float(np.hypot(box.x - face.x, box.y - face.y))
    grown, turned = abs(box.side - face.side), abs(box.angle - face.angle) * face.side
    return max(moved, grown, turned) > _SETTLED * face.side


def _choose(
    boxes: list[FaceBox], last: FaceBox | None, face_index: int, point: tuple[float, float] | None
) -> FaceBox | None:
    if last is not None and boxes:
        nearest = min(boxes, key=lambda b: np.hypot(b.x - last.x, b.y - last.y))
        if np.hypot(nearest.x - last.x, nearest.y - last.y) < last.side:
            return nearest
    if point is not None and boxes:
        return min(boxes, key=lambda b: np.hypot(b.x - point[0], b.y - point[1]))
    return boxes[face_index] if face_index < len(boxes) else None


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    step = max(1, min(frame.shape[:2]) // (4 * _CUT_SIDE))
    small = cv2.resize(
        np.ascontiguousarray(frame[::step, ::step]), (_CUT_SIDE, _CUT_SIDE), interpolation=cv2.INTER_AREA
    )
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def detect(
    frames: Iterable[np.ndarray],
    *,
    models: Path | None = None,
    face_index: int = 0,
    point: tuple[float, float] | None = None,
) -> Iterator[FaceFrame]:
    """Follow one face through frames (H, W, 3) uint8 RGB: one FaceFrame per frame, in order.

    The box comes from the last frame's landmarks; the detector runs at the start, when the face is lost, when the mesh
    is unsure, and after an abrupt change of the picture. `face_index` counts faces from the largest and most central;
    `point` (x, y px) picks the face nearest to it instead.
    """
    detector, mesh = FaceDetector(models), FaceMesh(models)
    last: FaceBox | None = None
    box: FaceBox | None = None
    previous: np.ndarray | None = None
    for frame in frames:
        thumbnail = _thumbnail(frame)
        change = 0.0 if previous is None else float(np.abs(thumbnail - previous).mean())
        previous = thumbnail
        if change > _ABRUPT:
            box, last = None, None
        landmarks, score = mesh.locate(frame, box) if box is not None else (None, 0.0)
        if score < MIN_SCORE:
            box = _choose(detector.find(frame), last, face_index, point)
            landmarks, score = mesh.locate(frame, box) if box is not None else (None, 0.0)
        if box is not None and landmarks is not None and _needs_refinement(box, box_of(landmarks)):
            landmarks, score = mesh.locate(frame, box_of(landmarks))
        if score < MIN_SCORE:
            landmarks = None
        box = None if landmarks is None else box_of(landmarks)
        last = box or last
        yield FaceFrame(landmarks, score, change)


def find_cuts(changes: np.ndarray, fps: float) -> np.ndarray:
    """(N,) bool, True at frame 0 and at every first frame after a cut, from (N,) float `FaceFrame.change`s.

    A cut is a change that stands out from the changes around it: the bare size of a change says little, a cut between
    two takes of one person moves few pixels.
    """
    starts = np.zeros(len(changes), bool)
    starts[:1] = True
    if len(changes) < 3:
        return starts
    change = changes[1:]
    side = max(2, round(_CUT_AROUND_S * fps))
    padded = np.pad(change, side, mode="reflect" if len(change) > side else "edge")
    around = np.stack([padded[k : k + len(change)] for k in range(2 * side + 1) if k != side])
    starts[1:] = (change > _CUT_MIN) & (change > _CUT_RATIO * np.sort(around, axis=0)[-2])
    return starts


def fill_gaps(found: Sequence[FaceFrame], shot_starts: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """((N, 468, 2) float32 landmarks, (N,) bool valid): gaps of ≤ max_gap frames inside a shot interpolated.

    Longer gaps stay NaN. Raises NoFaceError when no frame shows a face.
    """
    valid = np.array([f.landmarks is not None for f in found], bool)
    if not valid.any():
        raise NoFaceError(
            f"no face found in any of {len(found)} frames; use a clip in which the face is seen from the front"
        )
    landmarks = np.full((len(found), LANDMARK_COUNT, 2), np.nan, np.float32)
    for i in np.flatnonzero(valid):
        landmarks[i] = found[int(i)].landmarks
    for start, stop in runs(~valid):
        before, after = start - 1, stop
        if stop - start > max_gap:
            continue
        known_before = before >= 0 and not shot_starts[start:stop].any()
        known_after = after < len(found) and not shot_starts[start + 1 : after + 1].any()
        if known_before and known_after:
            weights = (np.arange(start, stop) - before) / (after - before)
            landmarks[start:stop] = landmarks[before] + weights[:, None, None] * (landmarks[after] - landmarks[before])
        elif known_before:
            landmarks[start:stop] = landmarks[before]
        elif known_after:
            landmarks[start:stop] = landmarks[after]
    return landmarks, valid
