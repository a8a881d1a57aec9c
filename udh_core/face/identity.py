"""Whose face it is: embeddings of faces, and the person that is followed, known by some of them.

benchmarks/identity.py measures how far apart faces of one person and of two people are; the thresholds lie between.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..weights.registry import weight_path
from .crop import square
from .similarity import similarities
from .topology import LEFT_EYE_INNER, LEFT_EYE_OUTER, NOSE_BASE, RIGHT_EYE_INNER, RIGHT_EYE_OUTER

WEIGHTS = "face_recognition.safetensors"
SURE = 0.55  # distance of embeddings up to which two faces are one person's
OTHER = 0.60  # beyond it they are two people's
STRANGER = 0.70  # the same of a face that was followed without a break: a head that turns away changes so much
VIEWS = 12  # of the person, that are remembered
_NOVEL = 0.25  # a view that differs so much from those known is worth remembering
_PADDING = 0.25  # around the face, as dlib's get_face_chip_details
# Where dlib's mean face has the eyes' corners and the nose's base, 0..1 of the face's square.
_PLACES = {
    LEFT_EYE_OUTER: (0.8595674595992, 0.2134981538014),
    LEFT_EYE_INNER: (0.6460604764104, 0.2289674387677),
    RIGHT_EYE_OUTER: (0.1205750620789, 0.2137274526848),
    RIGHT_EYE_INNER: (0.3340850613712, 0.2290642403242),
    NOSE_BASE: (0.4901123135679, 0.6277975316475),
}


class FaceEmbedder:
    """Describes faces by 128 numbers."""

    def __init__(self, models: Path | None = None) -> None:
        from safetensors.torch import load_file

        from .recognition import CHIP_PX, FaceRecognition

        self._network = FaceRecognition().eval()
        self._network.load_state_dict(load_file(weight_path(WEIGHTS, models)))
        places = (np.array(list(_PLACES.values())) + _PADDING) / (1 + 2 * _PADDING)
        self._size, self._places = CHIP_PX, places * CHIP_PX

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(128,) float32 of the face with these landmarks (468, 2) in a frame (H, W, 3) uint8 RGB."""
        import torch

        chip = self.chip(frame, landmarks)
        with torch.inference_mode():
            return self._network(torch.from_numpy(chip).permute(2, 0, 1)[None].float())[0].numpy()

    def chip(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(150, 150, 3) uint8 RGB: the face upright, as the network takes it."""
        (transform,) = similarities(landmarks[None, list(_PLACES)], self._places)
        return square(frame, transform, self._size)


class Person:
    """Who is followed, known by a few views of the face."""

    def __init__(self) -> None:
        self._views: list[np.ndarray] = []  # (128,) float32 each

    @property
    def is_known(self) -> bool:
        """Whether there is a view."""
        return bool(self._views)

    def distance(self, embedding: np.ndarray) -> float:
        """How unlike the person a face is: the distance from the view that is nearest; infinite without a view."""
        return min((_apart(embedding, view) for view in self._views), default=math.inf)

    def remember(self, embedding: np.ndarray) -> None:
        """Keep a view, if it is the person's and shows something new."""
        near = self.distance(embedding)
        fits = not self._views or (_NOVEL < near <= SURE and _apart(embedding, self._views[0]) <= OTHER)
        if fits and len(self._views) < VIEWS:
            self._views.append(embedding)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b))


def spread(measured: np.ndarray, shot_starts: np.ndarray) -> np.ndarray:
    """(N,) float64 distance from the person for every frame, from those measured (N,), NaN where none was.

    A frame has that of the next measurement in its shot: what was followed since the last one is whom that shows. After
    the last one of a shot it has that. NaN in shots in which nobody was seen.
    """
    shots = np.cumsum(shot_starts)
    known = np.flatnonzero(np.isfinite(measured))
    if not len(known):
        return np.full(len(measured), np.nan)
    every = np.arange(len(measured))
    after = known[np.clip(np.searchsorted(known, every), 0, len(known) - 1)]
    before = known[np.clip(np.searchsorted(known, every, side="right") - 1, 0, len(known) - 1)]
    chosen = np.where((after >= every) & (shots[after] == shots), after, before)
    return np.where(shots[chosen] == shots, measured[chosen], np.nan)
