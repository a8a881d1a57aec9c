"""From speech that is still going on to mouth shapes: `driving`, for sound of which the end is not known yet.

The sound is divided into hops on a fixed grid. The rows of a hop are predicted from a window of their own, which ends
LOOK_AHEAD after the hop, so they do not depend on the pieces in which the sound came. What the motion network would see
after the window is cut off. The three lengths are chosen by what they cost and change (docs/streaming.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..media.audio import SAMPLE_RATE_HZ
from ..models.generator import Generator
from ..speech.activity import levels_db, loud_db, silence, speech_mask
from ..speech.encoders import Encoder, rows_of_window
from ..speech.features import AudioFeatures
from .driving import feature_shift, gain_of, predict_rows, scale_movement, voice_distance

# In samples. Multiples of 40 ms, so that the rows of every encoder lie alike in every window.
HISTORY, HOP, LOOK_AHEAD = 32000, 2560, 3200  # 2 s, 160 ms, 200 ms
WINDOW = HISTORY + HOP + LOOK_AHEAD
SEEN_ROWS = 30  # that the motion network sees to either side
MEMORY_S = 60.0  # of speech: what was said longer ago hardly counts for what the voice is like; chosen
SETTLING_S = 1.0  # of speech, in which what is known of the voice takes effect, so that no mouth jumps; chosen
UNKNOWN_DB = -40.0  # how loud speech is at least, before any was found; chosen


class HopShapes(NamedTuple):
    """The rows of one hop."""

    shapes: Tensor  # (r, shape_width) float32, standard deviations
    rest: np.ndarray  # (r,) float32 0..1 weight of the rest pose


class LiveDriving:
    """Predicts hop by hop, and finds out meanwhile what the voice is like."""

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder,
        *,
        gain: float = 1.0,
        rest: bool = True,
        models: Path | None = None,
    ) -> None:
        """`gain`, `rest` and `models`: as in `driving.mouth_shapes`. Any number may share generator and encoder."""
        self.voice = RunningVoice(generator, encoder.rate_hz)
        self.rest_pose = generator.rest_pose.cpu()
        self.rate_hz = encoder.rate_hz
        self.rows_per_hop = round(HOP * self.rate_hz / SAMPLE_RATE_HZ)
        first = round(HISTORY * self.rate_hz / SAMPLE_RATE_HZ)
        self._hop = slice(first, first + self.rows_per_hop)
        self._window_times_s = (np.arange(round(WINDOW * self.rate_hz / SAMPLE_RATE_HZ)) + 0.5) / self.rate_hz
        self._generator, self._encoder, self._models = generator, encoder, models
        self._gain, self._rest = gain, rest

    def warm_up(self) -> None:
        """Compute all that a hop of speech takes; nothing is known of the voice by it.

        Where it was done once, the first frame of speech does not wait for what is loaded when it is first used.
        WeightsError when weights of the VAD are missing.
        """
        silent = np.zeros(WINDOW, np.float32)
        speech_mask(silent, self._window_times_s, loud=UNKNOWN_DB, models=self._models)
        self._motion(rows_of_window(self._encoder, silent))

    def predict(self, window: np.ndarray, *, final: bool) -> HopShapes:
        """The rows of the hop that begins HISTORY after the start of a window (WINDOW,) of sound, -1..1 at 16 kHz.

        Where nobody speaks in the window, the mouth is at rest. final: this hop is not predicted again, and counts for
        what is known of the voice.
        """
        resting = HopShapes(self.rest_pose.expand(self.rows_per_hop, -1), np.ones(self.rows_per_hop, np.float32))
        if not window.any():
            return resting
        level = loud_db(levels_db(window))
        loud = self.voice.loud_db or max(level, UNKNOWN_DB)
        spoken = speech_mask(window, self._window_times_s, loud=loud, models=self._models)
        rest = self._rest_weights(window, spoken, loud)
        if rest.min() == 1:
            return resting
        features = rows_of_window(self._encoder, window)
        rows = self._motion(features)
        if final and spoken[self._hop].any():
            spoken_rows = spoken[self._hop]
            self.voice.update(features[self._hop][spoken_rows], rows[torch.from_numpy(spoken_rows)], level)
        gain = self._gain * self.voice.gain
        return HopShapes(
            scale_movement(rows, self.rest_pose, gain, self._generator.config.adaptation.max_deviation), rest
        )

    def _rest_weights(self, window: np.ndarray, spoken: np.ndarray, loud: float) -> np.ndarray:
        """(r,) float32 of the rows of the hop. spoken: (t,) bool of the window's rows."""
        if not self._rest:
            return np.zeros(self.rows_per_hop, np.float32)
        if not spoken.any():
            return np.ones(self.rows_per_hop, np.float32)
        return silence(window, self._window_times_s[self._hop], loud=loud)

    def _motion(self, features: np.ndarray) -> Tensor:
        """(r, shape_width) of the hop, from the features (t, D) of its window."""
        seen = AudioFeatures(features[self._hop.start - SEEN_ROWS :], self.rate_hz, self._encoder.name)
        return predict_rows(self._generator, seen, self.voice.shift, self.voice.distance)[SEEN_ROWS:][
            : self.rows_per_hop
        ]


class RunningVoice:
    """What is known of a voice by what was said up to now, and what follows from it: the adaptation of `driving`."""

    def __init__(self, generator: Generator, rate_hz: float) -> None:
        config = generator.config.motion
        self.shift = torch.zeros(config.feature_width)  # to add to the features
        self.distance = 0.0  # from the voice of the clip
        self.gain = 1.0  # of the movement
        self.loud_db: float | None = None  # how loud the loud parts are; None: nobody has spoken
        self._generator = generator
        self._features = _Moments(config.feature_width, rate_hz)
        self._shapes = _Moments(config.shape_width, rate_hz)

    def update(self, features: np.ndarray, shapes: Tensor, level_db: float) -> None:
        """Take in rows with speech: features (k, D), shapes (k, shape_width) before scaling, and how loud it is."""
        self._features.add(features)
        self._shapes.add(shapes.numpy())
        seconds = self._features.seconds
        mean = torch.from_numpy(self._features.mean.astype(np.float32))
        movement = self._shapes.variance * self._generator.shape_std.cpu().numpy() ** 2
        share = 1 - np.exp(-len(features) / self._features.rate_hz / SETTLING_S)
        self.shift = self.shift + share * (feature_shift(self._generator, mean, seconds) - self.shift)
        self.distance += float(share) * (voice_distance(self._generator, mean, seconds) - self.distance)
        gain = gain_of(self._generator, float(np.sqrt(movement.sum())), seconds, self.distance)
        self.gain *= (gain / self.gain) ** share
        self.loud_db = level_db if self.loud_db is None else self.loud_db + share * (level_db - self.loud_db)


class _Moments:
    """Mean and variance of rows; they count the less the longer ago they were."""

    def __init__(self, width: int, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.seconds = 0.0  # how much the rows count for, MEMORY_S at most
        self._sum = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, rows: np.ndarray) -> None:
        """rows (k, width)."""
        lasts_s = len(rows) / self.rate_hz
        kept = np.exp(-lasts_s / MEMORY_S)
        exact = rows.astype(np.float64)
        self.seconds = self.seconds * kept + lasts_s
        self._sum = self._sum * kept + exact.sum(0) / self.rate_hz
        self._squares = self._squares * kept + np.square(exact).sum(0) / self.rate_hz

    @property
    def mean(self) -> np.ndarray:
        """(width,) float64."""
        return self._sum / self.seconds

    @property
    def variance(self) -> np.ndarray:
        """(width,) float64."""
        return np.maximum(self._squares / self.seconds - np.square(self.mean), 0)
