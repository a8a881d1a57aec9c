"""What is fitted after training: rest pose, amplitude and sharpness."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..face.mouth import mouth_opening
from ..speech.activity import away_from_speech

APART_S = 0.2  # this close to speech a mouth may move already, or still
MIN_FRAMES = 10  # in pauses, to learn from
QUIETEST, CLOSED = 1 / 3, 0.05  # part with the least opening: of the pauses, and of everything where those are too few


def rest_shape(data: TrainingData, shapes: Tensor) -> Tensor:
    """(shape_width,) mouth this person rests with, of the shapes (N, shape_width) of all frames."""
    pauses = away_from_speech(data.spoken, round(APART_S * float(data.avatar.info.fps)))
    frames, part = data.learnt[pauses[data.learnt]], QUIETEST
    if len(frames) < MIN_FRAMES:
        frames, part = data.learnt, CLOSED
    order = np.argsort(mouth_opening(data.landmarks[frames]))
    return shapes[frames[order[: max(1, round(part * len(frames)))]]].mean(0)
