"""The face detector and the 468-point face mesh, MediaPipe's published TFLite files run by OpenCV's dnn module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import WeightsError
from ..weights.registry import weight_path
from .topology import LANDMARK_COUNT, LEFT_EYE_OUTER, RIGHT_EYE_OUTER

MIN_SCORE = 0.5
_DETECTOR_SIZE = 128
_MESH_SIZE = 192
_ROI_SCALE = 1.5  # MediaPipe's face mesh expects the face box enlarged by this
Square = tuple[float, float, float]  # x, y of the upper left corner, side, px; where the detector looks


@dataclass(frozen=True)
class FaceBox:
    """A face as the mesh wants it: a square that may be turned. Source-frame px, radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0
    score: float = 1.0


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
        boxes = self.search(frame, [(0, 0, max(height, width))])
        if not boxes:
            for side in (min(width, height), max(width, height) / 2):
                boxes += self.search(frame, squares(width, height, side))
        return sorted(suppress(boxes), key=lambda box: prominence(box, frame.shape), reverse=True)

    def search(self, frame: np.ndarray, parts: Iterable[Square]) -> list[FaceBox]:
        """The faces of these squares of a frame (H, W, 3) uint8 RGB, each as often as it lies in one of them."""
        return [box for part in parts for box in self._find_in(frame, *part)]

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


def squares(width: int, height: int, side: float) -> Iterator[Square]:
    """Squares that cover a frame, each half over the next; of one larger than the frame there is one in a row."""
    nx, ny = (max(1, int(np.ceil((length - side) / (side / 2))) + 1) for length in (width, height))
    for y in np.linspace(0, height - side, ny):
        for x in np.linspace(0, width - side, nx):
            yield float(x), float(y), float(side)


def suppress(boxes: Sequence[FaceBox]) -> list[FaceBox]:
    """One box per face: the most confident of those whose centres lie within half a side."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda b: b.score, reverse=True):
        if all(np.hypot(box.x - k.x, box.y - k.y) > 0.5 * max(box.side, k.side) for k in kept):
            kept.append(box)
    return kept


def prominence(box: FaceBox, shape: tuple[int, ...]) -> float:
    """The more, the larger and more central a face is in a frame of this shape (H, W, …)."""
    height, width = shape[:2]
    off_centre = float(np.hypot(box.x - width / 2, box.y - height / 2))
    return box.side * (1.0 - 0.5 * off_centre / max(width, height))


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


def box_of(landmarks: np.ndarray) -> FaceBox:
    """The box in which to look for these landmarks (468, 2) in the next frame."""
    low, high = landmarks.min(0), landmarks.max(0)
    eyes = landmarks[LEFT_EYE_OUTER] - landmarks[RIGHT_EYE_OUTER]
    centre = (low + high) / 2
    return FaceBox(float(centre[0]), float(centre[1]), float((high - low).max()), float(np.arctan2(eyes[1], eyes[0])))
