"""From anybody's speech to this person's mouth shapes: whoever speaks is brought to the voice of the clip.

A network that has learnt one voice hears another a little beside it, and moves the mouth less. So the mean of a voice's
features is moved to that of the clip, and its movement scaled to the movement of the clip. Passages of one voice
differ, too, the more the shorter they are: only what differs by more than that is taken for the voice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.generator import Generator
from ..models.tensors import interpolate_rows
from ..speech.activity import silence, speech_mask
from ..speech.features import AudioFeatures

# Of passages of the clip's own voice, one second long; n seconds have an n-th of it (whisper-tiny, GRID and news clip,
# passages of 2 to 16 s).
MEAN_VARIANCE = 0.12  # of the mean of a feature, whose own variance is 1
MOVEMENT_VARIANCE = 0.035  # of the logarithm of how much the mouth moves
MOST = 1.6  # a movement is scaled by this factor, or divided by it, at most
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
    models: Path | None = None,
) -> Tensor:
    """(n, shape_width) float32 mouth shapes at `times_s` (n,), in standard deviations.

    waveform: (m,) of the features. The voice is judged by what is heard between the first of the times and the last.
    `gain` scales the movement further; with `rest` the mouth rests where it is silent.
    `models`: folder of the weight files.
    """
    spoken = speech_rows(waveform, len(features.values), features.rate_hz, times_s, models=models)
    seconds = len(spoken) / features.rate_hz
    shift = feature_shift(generator, mean_of(features.values, spoken), seconds)
    rows, resting = predict_rows(generator, features, shift), generator.rest_pose.cpu()
    gain *= amplitude_gain(generator, rows[torch.from_numpy(spoken)], seconds)
    shapes = scale_movement(at_times(rows, features.rate_hz, times_s), resting, gain)
    if not rest:
        return shapes
    return torch.lerp(shapes, resting.expand_as(shapes), torch.from_numpy(silence(waveform, times_s))[:, None])


def speech_rows(
    waveform: np.ndarray, count: int, rate_hz: float, times_s: np.ndarray, *, models: Path | None = None
) -> np.ndarray:
    """(k,) int64: of `count` rows of features those with speech in them, from the first of the times to the last."""
    rows_s = (np.arange(count) + 0.5) / rate_hz
    within = np.flatnonzero((rows_s >= times_s.min()) & (rows_s <= times_s.max()))
    return within[speech_mask(waveform, rows_s[within], models=models)]


def mean_of(values: np.ndarray, rows: np.ndarray) -> Tensor:
    """(D,) float32: mean of these rows (k,) of values (T, D). Blockwise: any length fits."""
    blocks = np.split(rows, range(_BLOCK_ROWS, len(rows), _BLOCK_ROWS))
    total = np.sum([values[block].sum(0, dtype=np.float64) for block in blocks], axis=0)
    return torch.from_numpy((total / max(len(rows), 1)).astype(np.float32))


def feature_shift(generator: Generator, mean: Tensor, seconds: float) -> Tensor:
    """(D,) float32 to add to the features of a voice, which in so many seconds of speech have this mean (D,)."""
    motion = generator.motion
    difference = motion.speech_mean.cpu() - mean
    if seconds < LEAST_S or generator.mouth_amplitude == 0:
        return torch.zeros_like(difference)
    evidence = (difference / motion.feature_std.cpu()).square().mean().clamp_min(1e-9)
    return difference * (1 - MEAN_VARIANCE / seconds / evidence).clamp_min(0)


def amplitude_gain(generator: Generator, shapes: Tensor, seconds: float) -> float:
    """What brings the movement of these shapes (k, shape_width), so many seconds of speech, to that of the clip."""
    told = mouth_amplitude(generator, shapes) if seconds >= LEAST_S else 0.0
    if told == 0 or generator.mouth_amplitude == 0:
        return 1.0
    ratio = np.log(float(generator.mouth_amplitude) / told)
    ratio *= ratio**2 / (ratio**2 + MOVEMENT_VARIANCE / seconds)
    return float(np.exp(np.clip(ratio, -np.log(MOST), np.log(MOST))))


def mouth_amplitude(generator: Generator, shapes: Tensor) -> float:
    """How much shapes (n, shape_width) move: the standard deviation of lips and jaw around their mean, face units."""
    return float((shapes.var(0) * generator.shape_std.to(shapes).square()).sum().sqrt())


def at_times(rows: Tensor, rate_hz: float, times_s: np.ndarray) -> Tensor:
    """(n, shape_width) at `times_s` (n,) from rows (T, shape_width)."""
    places = torch.from_numpy(times_s * rate_hz - 0.5).float()
    return interpolate_rows(rows[None], places[None])[0]


@torch.inference_mode()
def predict_rows(generator: Generator, features: AudioFeatures, shift: Tensor) -> Tensor:
    """(T, shape_width) float32 from the features, moved by `shift` (D,). Blockwise: any length fits."""
    total = len(features.values)
    device = next(generator.motion.parameters()).device
    parts = []
    for start in range(0, total, _BLOCK_ROWS):
        low, high = max(0, start - _MARGIN_ROWS), min(total, start + _BLOCK_ROWS + _MARGIN_ROWS)
        block = (torch.from_numpy(np.array(features.values[low:high], np.float32)) + shift)[None].to(device)
        parts.append(generator.motion(block)[0, start - low :][:_BLOCK_ROWS].cpu())
    return torch.cat(parts)


LIMIT = 3.0  # standard deviations a gain may reach: further out the clip showed nothing


def scale_movement(shapes: Tensor, rest: Tensor, gain: float) -> Tensor:
    """(n, shape_width) with their distance from the rest shape scaled, within what a clip shows."""
    limit = shapes.abs().clamp_min(LIMIT)  # what is predicted beyond it stays where it is
    return (rest + gain * (shapes - rest)).clamp(-limit, limit)
