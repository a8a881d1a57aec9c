"""The resting mouth: learnt from the clip's pauses, taken in silence, and where a gain leaves from."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .avatar.dataset import TrainingData
from .face.mouth import mouth_opening
from .speech.activity import away_from_speech

APART_S = 0.2  # this close to speech a mouth may move already, or still
MIN_FRAMES = 10  # in pauses, to learn from
QUIETEST, CLOSED = 1 / 3, 0.05  # part with the least opening: of the pauses, and of everything where those are too few
GAINS = 0.5, 1.5
LIMIT = 3.0  # standard deviations a gain may reach: further out the clip showed nothing


def rest_shape(data: TrainingData, shapes: Tensor) -> Tensor:
    """(shape_width,) mouth this person rests with, of the shapes (N, shape_width) of all frames."""
    pauses = away_from_speech(data.spoken, round(APART_S * float(data.avatar.info.fps)))
    frames, part = data.learnt[pauses[data.learnt]], QUIETEST
    if len(frames) < MIN_FRAMES:
        frames, part = data.learnt, CLOSED
    order = np.argsort(mouth_opening(data.landmarks[frames]))
    return shapes[frames[order[: max(1, round(part * len(frames)))]]].mean(0)


def enlarge(shapes: Tensor, rest: Tensor, gain: float) -> Tensor:
    """(n, shape_width) with their distance from the rest shape scaled, within what a clip shows."""
    limit = shapes.abs().clamp_min(LIMIT)  # what is predicted beyond it stays where it is
    return (rest + gain * (shapes - rest)).clamp(-limit, limit)
