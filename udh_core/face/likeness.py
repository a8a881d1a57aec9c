"""Whether two sets of face crops show one person."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from .finder import FaceFinder
from .identity import FaceEmbedder, Person

LEAST_PX = 256  # side of a crop in which faces are looked for; smaller ones are enlarged


def unlikeness(known: Iterable[np.ndarray], others: Iterable[np.ndarray], models: Path | None = None) -> float:
    """How unlike the face in `known` crops (S, S, 3) uint8 RGB the one in `others` is, see `identity`.

    The median over the others of the distance from the nearest that is known; NaN where no face is found in either.
    """
    finder, embedder, person = FaceFinder(models), FaceEmbedder(models), Person()
    for embedding in _embeddings(known, finder, embedder):
        person.remember(embedding)
    distances = [person.distance(embedding) for embedding in _embeddings(others, finder, embedder)]
    return float(np.median(distances)) if distances and person.is_known else math.nan


def _embeddings(crops: Iterable[np.ndarray], finder: FaceFinder, embedder: FaceEmbedder) -> Iterable[np.ndarray]:
    for picture in crops:
        side = max(LEAST_PX, len(picture))
        large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
        for face in finder.find(large)[:1]:
            yield embedder.embed(large, face.landmarks)
