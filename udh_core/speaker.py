"""From anybody's speech to this person's mouth shapes: whoever speaks is brought to the voice of the clip.

A network that has learnt one voice hears another a little beside it, and moves the mouth less. So the mean of a voice's
features is moved to that of the clip, and its movement scaled to the movement of the clip. Passages of one voice
differ, too, the more the shorter they are: only what differs by more than that is taken for the voice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .batches import interpolate_rows
from .features import AudioFeatures
from .models.generator import Generator
from .rest import enlarge
from .voice import LEVEL_RATE_HZ, levels_db, silence, speech_mask

# Of passages of the clip's own voice, one second long; n seconds have an n-th of it (GRID and news clip, 2 to 16 s).
MEAN_VARIANCE = 0.12  # of the mean of a feature, whose own variance is 1
MOVEMENT_VARIANCE = 0.035  # of the logarithm of how much the mouth moves
MOST = 1.6  # a movement is scaled by this factor, or divided by it, at most
STEADY_DB = 2.5  # a sound whose level varies by less is noise: pink noise by 1.7, speech in noise 5 dB below it by 3.4
LEAST_S = 0.5  # of speech, to say anything about a voice
_BLOCK_ROWS, _MARGIN_ROWS = 3000, 64  # of features at a time; the motion network reaches 14 rows


def mouth_shapes(
    generator: Generator,
    features: AudioFeatures,
    times_s: np.ndarray,
    waveform: np.ndarray,
    *,
    gain: float = 1.0,
    rest: bool = True,
) -> Tensor:
    """(n, shape_width) float32 mouth shapes at `times_s` (n,), in standard deviations.

    waveform: (m,) of the features. The voice is judged by what is heard between the first of the times and the last.
    `gain` scales the movement further; with `rest` the mouth rests where it is silent.
    """
    spoken, seconds = spoken_rows(waveform, len(features.values), features.rate_hz, times_s)
    shift = voice_shift(generator, mean_of(features.values, spoken), seconds)
    rows, resting = _predict_rows(generator, features, shift), generator.rest.cpu()
    gain *= voice_gain(generator, rows[torch.from_numpy(spoken)], seconds)
    shapes = enlarge(_between(rows, features.rate_hz, times_s), resting, gain)
    if not rest:
        return shapes
    return torch.lerp(shapes, resting.expand_as(shapes), torch.from_numpy(silence(waveform, times_s))[:, None])


def spoken_rows(waveform: np.ndarray, count: int, rate_hz: float, times_s: np.ndarray) -> tuple[np.ndarray, float]:
    """(k,) int64: which of `count` rows of features have a voice in them, between the first of the times and the last.

    And how many seconds these are.
    """
    rows_s = (np.arange(count) + 0.5) / rate_hz
    within = (rows_s >= times_s.min()) & (rows_s <= times_s.max())
    spoken = np.flatnonzero(speech_mask(waveform, rows_s) & within)
    level = levels_db(waveform)
    heard = level[np.minimum((rows_s[spoken] * LEVEL_RATE_HZ).astype(int), len(level) - 1)]
    if len(spoken) and heard.std() < STEADY_DB:
        spoken = spoken[:0]
    return spoken, len(spoken) / rate_hz


def mean_of(values: np.ndarray, rows: np.ndarray) -> Tensor:
    """(D,) float32: mean of these rows (k,) of values (T, D). Blockwise: any length fits."""
    blocks = np.split(rows, range(_BLOCK_ROWS, len(rows), _BLOCK_ROWS))
    total = np.sum([values[block].sum(0, dtype=np.float64) for block in blocks], axis=0)
    return torch.from_numpy((total / max(len(rows), 1)).astype(np.float32))


def voice_shift(generator: Generator, mean: Tensor, seconds: float) -> Tensor:
    """(D,) float32 to add to the features of a voice, which in so many seconds of speech have this mean (D,)."""
    motion = generator.motion
    difference = motion.speech_mean.cpu() - mean
    if seconds < LEAST_S:
        return torch.zeros_like(difference)
    evidence = (difference / motion.feature_std.cpu()).square().mean().clamp_min(1e-9)
    return difference * (1 - MEAN_VARIANCE / seconds / evidence).clamp_min(0)


def voice_gain(generator: Generator, shapes: Tensor, seconds: float) -> float:
    """What brings the movement of these shapes (k, shape_width), so many seconds of speech, to that of the clip."""
    told = movement(generator, shapes) if seconds >= LEAST_S else 0.0
    if told == 0.0:
        return 1.0
    ratio = np.log(float(generator.movement) / told)
    ratio *= ratio**2 / (ratio**2 + MOVEMENT_VARIANCE / seconds)
    return float(np.exp(np.clip(ratio, -np.log(MOST), np.log(MOST))))


def movement(generator: Generator, shapes: Tensor) -> float:
    """How much shapes (n, shape_width) move: the standard deviation of lips and jaw around their mean, face units."""
    return float((shapes.var(0) * generator.shape_std.to(shapes).square()).sum().sqrt())


@torch.inference_mode()
def predict_shapes(generator: Generator, features: AudioFeatures, times_s: np.ndarray) -> Tensor:
    """(n, shape_width) float32: what the motion network makes of the features at `times_s` (n,), whoever speaks."""
    return _between(_predict_rows(generator, features, None), features.rate_hz, times_s)


def _between(rows: Tensor, rate_hz: float, times_s: np.ndarray) -> Tensor:
    """(n, shape_width) at `times_s` (n,) from rows (T, shape_width)."""
    places = torch.from_numpy(times_s * rate_hz - 0.5).float()
    return interpolate_rows(rows[None], places[None])[0]


@torch.inference_mode()
def _predict_rows(generator: Generator, features: AudioFeatures, shift: Tensor | None) -> Tensor:
    """(T, shape_width) float32 from the features, moved by `shift` (D,). Blockwise: any length fits."""
    total = len(features.values)
    device = next(generator.motion.parameters()).device
    parts = []
    for start in range(0, total, _BLOCK_ROWS):
        low, high = max(0, start - _MARGIN_ROWS), min(total, start + _BLOCK_ROWS + _MARGIN_ROWS)
        block = torch.from_numpy(np.array(features.values[low:high], np.float32))[None].to(device)
        block = block if shift is None else block + shift.to(device)
        parts.append(generator.motion(block)[0, start - low :][:_BLOCK_ROWS].cpu())
    return torch.cat(parts)
