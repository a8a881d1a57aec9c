"""Face landmarks of a video: detection, tracking from frame to frame, gaps, and what was lost.

Detector and 468-point mesh are MediaPipe's published TFLite files, run by OpenCV's dnn module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import NoFaceError, WeightsError
from .intervals import runs
from .weights.registry import weight_path

SCHEME = "mediapipe468"
LANDMARK_COUNT = 468
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
INNER_LIP_TOP, INNER_LIP_BOTTOM, MOUTH_RIGHT, MOUTH_LEFT = 13, 14, 61, 291
MIN_SCORE = 0.5
_DETECTOR_SIZE = 128
_MESH_SIZE = 192
_ROI_SCALE = 1.5  # MediaPipe's face mesh expects the face box enlarged by this
_SETTLED = 0.03  # of the face's side: how far it moves from frame to frame; further, landmarks slip
_CUT_SIDE = 48  # px of the thumbnail on which cuts are judged
_CUT_RATIO, _CUT_MIN = 2.5, 3.0  # a cut differs this many times more than its neighbours, and this many grey levels
_ABRUPT = 12.0  # grey levels: the face may be anywhere in the next picture


@dataclass(frozen=True)
class FaceBox:
    """A face as the mesh wants it: a square that may be turned. Source-frame px, radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0
    score: float = 1.0


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


def _load_net(name: str, models: Path | None) -> cv2.dnn.Net:
    path = str(weight_path(name, models))
    try:
        # OpenCV 5's new engine returns only one of the detector's two outputs.
        engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        return cv2.dnn.readNetFromTFLite(path) if engine is None else cv2.dnn.readNetFromTFLite(path, engine=engine)
    except cv2.error as error:
        raise WeightsError(f"{path}: OpenCV {cv2.__version__} cannot read it; install opencv-python >= 4.10") from error


def _ssd_anchors() -> np.ndarray:
    """(896, 2) float32 anchor centres in 0..1: stride 8 twice per cell, stride 16 six times."""
    rows = []
    for stride, repeats in ((8, 2), (16, 6)):
        cells = _DETECTOR_SIZE // stride
        ys, xs = np.mgrid[0:cells, 0:cells]
        centres = (np.stack([xs, ys], -1).reshape(-1, 2) + 0.5) / cells
        rows.append(np.repeat(centres, repeats, axis=0))
    return np.concatenate(rows).astype(np.float32)


class FaceDetector:
    """Finds faces in a whole frame (MediaPipe short range)."""

    def __init__(self, models: Path | None = None) -> None:
        self._net = _load_net("face_detection_short_range.tflite", models)
        self._anchors = _ssd_anchors()

    def find(self, frame: np.ndarray) -> list[FaceBox]:
        """Faces of a frame (H, W, 3) uint8 RGB, the largest and most central first.

        The detector sees 128 px: where the whole frame shows none, overlapping squares of it are searched.
        """
        height, width = frame.shape[:2]
        boxes = self._find_in(frame, 0, 0, max(height, width))
        if not boxes:
            for x, y, side in _search_squares(width, height):
                boxes += self._find_in(frame, x, y, side)
        boxes = _suppress(boxes)
        centre = np.array([width, height]) / 2

        def rank(box: FaceBox) -> float:
            return box.side * (1.0 - 0.5 * float(np.hypot(*(np.array([box.x, box.y]) - centre))) / max(width, height))

        return sorted(boxes, key=rank, reverse=True)

    def _find_in(self, frame: np.ndarray, x: float, y: float, side: float) -> list[FaceBox]:
        """Search the square at (x, y); a square larger than the frame is centred on it and padded with black."""
        height, width = frame.shape[:2]
        if side >= max(height, width):
            x, y = (width - side) / 2, (height - side) / 2
        scale = _DETECTOR_SIZE / side
        window = frame[max(0, int(y)) : int(y + side), max(0, int(x)) : int(x + side)]
        small = cv2.resize(window, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.zeros((_DETECTOR_SIZE, _DETECTOR_SIZE, 3), np.uint8)
        left, top = round(max(0.0, -x) * scale), round(max(0.0, -y) * scale)
        part = small[: _DETECTOR_SIZE - top, : _DETECTOR_SIZE - left]
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        self._net.setInput(cv2.dnn.blobFromImage(canvas.astype(np.float32) / 127.5 - 1.0))
        forward = self._net.forward(["classificators", "regressors"])
        outputs = {o.shape[-1]: o.reshape(len(self._anchors), -1) for o in forward}
        scores = 1.0 / (1.0 + np.exp(-np.clip(outputs[1][:, 0].astype(np.float64), -80, 80)))
        found = []
        for i in np.flatnonzero(scores > MIN_SCORE):
            values = outputs[16][i].reshape(8, 2) / _DETECTOR_SIZE
            points = np.concatenate([values[:1], values[2:4]]) + self._anchors[i]  # centre, right eye, left eye
            centre, right, left_eye = points * side + (x, y)
            angle = float(np.arctan2(left_eye[1] - right[1], left_eye[0] - right[0]))
            found.append(
                FaceBox(float(centre[0]), float(centre[1]), float(values[1].max() * side), angle, float(scores[i]))
            )
        return found


def _search_squares(width: int, height: int) -> Iterator[tuple[float, float, float]]:
    for side in (min(width, height), max(width, height) / 2):
        nx, ny = (int(np.ceil((length - side) / (side / 2))) + 1 for length in (width, height))
        for y in np.linspace(0, height - side, max(1, ny)):
            for x in np.linspace(0, width - side, max(1, nx)):
                yield float(x), float(y), float(side)


def _suppress(boxes: Sequence[FaceBox]) -> list[FaceBox]:
    """One box per face: the most confident of those whose centres lie within half a side."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda b: b.score, reverse=True):
        if all(np.hypot(box.x - k.x, box.y - k.y) > 0.5 * max(box.side, k.side) for k in kept):
            kept.append(box)
    return kept


class FaceMesh:
    """The 468 landmarks of one face, given about where it is."""

    def __init__(self, models: Path | None = None) -> None:
        self._net = _load_net("face_landmark.tflite", models)
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def locate(self, frame: np.ndarray, box: FaceBox) -> tuple[np.ndarray, float]:
        """((468, 2) float32 source px, confidence 0..1) of the face in `box` of a frame (H, W, 3) uint8 RGB."""
        scale = _MESH_SIZE / (box.side * _ROI_SCALE)
        c, s = np.cos(box.angle) * scale, np.sin(box.angle) * scale
        half = _MESH_SIZE / 2
        to_roi = np.array([[c, s, half - c * box.x - s * box.y], [-s, c, half + s * box.x - c * box.y]])
        roi = cv2.warpAffine(frame, to_roi, (_MESH_SIZE, _MESH_SIZE), flags=cv2.INTER_LINEAR)
        self._net.setInput(cv2.dnn.blobFromImage(roi.astype(np.float32) / 255.0))
        outputs = {o.size: o for o in self._net.forward(self._outputs)}
        points = outputs[LANDMARK_COUNT * 3].reshape(LANDMARK_COUNT, 3)[:, :2]
        back = cv2.invertAffineTransform(to_roi)
        landmarks = (points @ back[:, :2].T + back[:, 2]).astype(np.float32)
        logit = float(np.clip(outputs[1].ravel()[0], -80, 80))
        return landmarks, float(1.0 / (1.0 + np.exp(-logit)))


def seen_region(box: FaceBox, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a frame of this shape (H, W, …) outside of which the mesh, looking at `box`, sees nothing."""
    half = box.side * _ROI_SCALE / 2 * (abs(np.cos(box.angle)) + abs(np.sin(box.angle))) + 2

    def span(middle: float, length: int) -> slice:
        start = int(np.clip(np.floor(middle - half), 0, length - 1))
        return slice(start, int(np.clip(np.ceil(middle + half), start + 1, length)))

    return span(box.y, shape[0]), span(box.x, shape[1])


def box_of(landmarks: np.ndarray) -> FaceBox:
    """The box in which to look for these landmarks (468, 2) in the next frame."""
    low, high = landmarks.min(0), landmarks.max(0)
    eyes = landmarks[LEFT_EYE_OUTER] - landmarks[RIGHT_EYE_OUTER]
    centre = (low + high) / 2
    return FaceBox(float(centre[0]), float(centre[1]), float((high - low).max()), float(np.arctan2(eyes[1], eyes[0])))


def _misses(box: FaceBox, face: FaceBox) -> bool:
    """True if the mesh was shown the face so far off, of such another size or so turned that it has to look again."""
    moved = float(np.hypot(box.x - face.x, box.y - face.y)), abs(box.side - face.side)
    return max(*moved, abs(box.angle - face.angle) * face.side) > _SETTLED * face.side


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
        if box is not None and landmarks is not None and _misses(box, box_of(landmarks)):
            landmarks, score = mesh.locate(frame, box_of(landmarks))
        if score < MIN_SCORE:
            landmarks = None
        box = None if landmarks is None else box_of(landmarks)
        last = box or last
        yield FaceFrame(landmarks, score, change)


def find_cuts(changes: np.ndarray) -> np.ndarray:
    """(N,) bool, True at frame 0 and at every first frame after a cut, from (N,) float `FaceFrame.change`s.

    A cut is a change that stands out from the changes around it: the bare size of a change says little, a cut between
    two takes of one person moves few pixels.
    """
    starts = np.zeros(len(changes), bool)
    starts[:1] = True
    if len(changes) < 3:
        return starts
    change = changes[1:]
    padded = np.pad(change, 4, mode="reflect") if len(change) > 4 else np.pad(change, 4, mode="edge")
    around = np.stack([padded[k : k + len(change)] for k in range(9) if k != 4])
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


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(…,) float32: gap of the inner lips over the distance of the outer eye corners, from (…, 468, 2)."""
    gap = np.linalg.norm(landmarks[..., INNER_LIP_TOP, :] - landmarks[..., INNER_LIP_BOTTOM, :], axis=-1)
    eyes = np.linalg.norm(landmarks[..., RIGHT_EYE_OUTER, :] - landmarks[..., LEFT_EYE_OUTER, :], axis=-1)
    return gap / np.maximum(eyes, 1e-6)
