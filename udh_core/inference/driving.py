"""From anybody's speech to this person's mouth shapes: speaker adaptation, then the motion network.

A network trained on one voice moves the mouth less for another, whose features have another mean. So the mean of
the features is shifted to that of the clip, and the amplitude of the mouth scaled to what the network predicts of the
clip. Passages of one voice differ, too, the more the shorter they are, so both corrections are shrunk towards none: the
shift as James and Stein (1961) do it, by 1 − expected variance / observed difference², not below 0; the logarithm of
the gain r by r² / (r² + expected variance). The variances are in `AdaptationConfig`.

The same evidence says how far a voice is from the clip's (`voice_distance`): this person's networks follow the own
voice best, what the motion prior says of anybody follows others best.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.generator import AdaptationConfig, Generator
from ..models.tensors import interpolate_rows
from ..speech.activity import silence, speech_mask
from ..speech.features import AudioFeatures
from .memory import give_back_read

# From the rest pose to speech where a video begins or ends: three frames at 25 fps, as in silence; chosen
EASE_S = 0.12
_BLOCK_ROWS, _MARGIN_ROWS = 3000, 64  # of features at a time; the motion network sees 30 rows to either side


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

    waveform: (m,) float32 that the features are of. The voice is adapted by what is spoken between the first of the
    times and the last. `gain` scales the movement further; with `rest` the mouth takes its rest pose in silence.
    `models`: folder of the weight files.
    """
    spoken = speech_rows(waveform, len(features.values), features.rate_hz, times_s, models=models)
    seconds, mean = len(spoken) / features.rate_hz, mean_of(features.values, spoken)
    shift, distance = feature_shift(generator, mean, seconds), voice_distance(generator, mean, seconds)
    rows, resting = predict_rows(generator, features, shift, distance), generator.rest_pose.cpu()
    gain *= amplitude_gain(generator, rows[torch.from_numpy(spoken)], seconds, distance)
    at_frames = at_times(rows, features.rate_hz, times_s)
    shapes = scale_movement(at_frames, resting, gain, generator.config.adaptation.max_deviation)
    if not rest:
        return shapes
    return torch.lerp(shapes, resting.expand_as(shapes), torch.from_numpy(silence(waveform, times_s))[:, None])


def speech_rows(
    waveform: np.ndarray, count: int, rate_hz: float, times_s: np.ndarray, *, models: Path | None = None
) -> np.ndarray:
    """(k,) int64: of `count` rows of features those with speech, from the first of the times (n,) to the last."""
    rows_s = (np.arange(count) + 0.5) / rate_hz
    within = np.flatnonzero((rows_s >= times_s.min()) & (rows_s <= times_s.max()))
    return within[speech_mask(waveform, rows_s[within], models=models)]


def mean_of(values: np.ndarray, rows: np.ndarray) -> Tensor:
    """(D,) float32: mean of these rows (k,) of values (T, D). Blockwise: any length fits."""
    blocks = np.split(rows, range(_BLOCK_ROWS, len(rows), _BLOCK_ROWS))
    total = np.sum([_sum_of(values, block) for block in blocks], axis=0)
    return torch.from_numpy((total / max(len(rows), 1)).astype(np.float32))


def _sum_of(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(D,) float64"""
    total = values[rows].sum(0, dtype=np.float64)
    give_back_read(values)
    return total


def feature_shift(generator: Generator, mean: Tensor, seconds: float) -> Tensor:
    """(D,) float32 to add to the features of a voice, which in so many seconds of speech have this mean (D,)."""
    motion, config = generator.motion, generator.config.adaptation
    difference = motion.speech_mean.cpu() - mean
    if generator.mouth_amplitude == 0:
        return torch.zeros_like(difference)
    return difference * shrinkage(difference / motion.feature_std.cpu(), seconds, config)


def voice_distance(generator: Generator, mean: Tensor, seconds: float) -> float:
    """0..1: how far a voice, which in so many seconds of speech has this mean (D,) of the features, is from the clip's.

    0 where one person may differ as much from one recording to another, and where nothing is known.
    """
    motion, config = generator.motion, generator.config.adaptation
    if generator.mouth_amplitude == 0:
        return 0.0
    difference = (motion.speech_mean.cpu() - mean) / motion.feature_std.cpu()
    return float(shrinkage(difference, seconds, config, config.voice_variance))


def shrinkage(difference: Tensor, seconds: float, config: AdaptationConfig, other_variance: float = 0.0) -> Tensor:
    """() 0..1: what part of a difference (D,) of means, in standard deviations, is not chance in so many seconds.

    other_variance: of the difference, that does not come from how short the passage is.
    """
    if seconds < config.least_s:
        return torch.zeros(())
    evidence = difference.square().mean().clamp_min(1e-9)
    return (1 - (config.mean_variance / seconds + other_variance) / evidence).clamp_min(0)


def amplitude_gain(generator: Generator, shapes: Tensor, seconds: float, distance: float) -> float:
    """What brings the movement of shapes (k, shape_width), so many seconds of speech, to that predicted of the clip."""
    spoken = seconds >= generator.config.adaptation.least_s
    return gain_of(generator, mouth_amplitude(generator, shapes) if spoken else 0.0, seconds, distance)


def gain_of(generator: Generator, predicted: float, seconds: float, distance: float) -> float:
    """What brings a movement of this amplitude, predicted of so many seconds of speech, to that of the clip.

    distance: of the voice, see `voice_distance`.
    """
    config, wanted = generator.config.adaptation, float(generator.mouth_amplitude)
    if predicted == 0 or wanted == 0 or seconds < config.least_s:
        return 1.0
    if generator.motion.prior is not None:
        wanted += distance * (float(generator.motion.general_amplitude) - wanted)
    ratio = np.log(wanted / predicted)
    ratio *= ratio**2 / (ratio**2 + config.movement_variance / seconds)
    return float(np.exp(np.clip(ratio, -np.log(config.max_gain), np.log(config.max_gain))))


def mouth_amplitude(generator: Generator, shapes: Tensor) -> float:
    """How much shapes (n, shape_width) move: the standard deviation of lips and jaw around their mean, face units."""
    return float((shapes.var(0) * generator.shape_std.to(shapes).square()).sum().sqrt())


def at_times(rows: Tensor, rate_hz: float, times_s: np.ndarray) -> Tensor:
    """(n, shape_width) at `times_s` (n,) from rows (T, shape_width)."""
    places = torch.from_numpy(times_s * rate_hz - 0.5).float()
    return interpolate_rows(rows[None], places[None])[0]


@torch.inference_mode()
def predict_rows(generator: Generator, features: AudioFeatures, shift: Tensor, distance: float = 0.0) -> Tensor:
    """(T, shape_width) float32 from the features, moved by `shift` (D,), of a voice at this distance from the clip's.

    Blockwise: any length fits.
    """
    total = len(features.values)
    device = next(generator.motion.parameters()).device
    distances, parts = torch.tensor([distance], dtype=torch.float32, device=device), []
    for start in range(0, total, _BLOCK_ROWS):
        low, high = max(0, start - _MARGIN_ROWS), min(total, start + _BLOCK_ROWS + _MARGIN_ROWS)
        block = (torch.from_numpy(np.array(features.values[low:high], np.float32)) + shift)[None].to(device)
        parts.append(generator.motion(block, distances)[0, start - low :][:_BLOCK_ROWS].cpu())
        give_back_read(features.values)
    return torch.cat(parts)


def scale_movement(shapes: Tensor, rest_pose: Tensor, gain: float, max_deviation: float) -> Tensor:
    """Shapes (n, shape_width) with their distance from the rest pose (shape_width,) times gain, (n, shape_width).

    max_deviation: standard deviations that scaling reaches at most. A closed mouth stays closed; `WarpNet.amplitude`,
    which calibrates the network rather than the movement, scales about the mean shape.
    """
    limit = shapes.abs().clamp_min(max_deviation)  # what is predicted beyond it stays where it is
    return (rest_pose + gain * (shapes - rest_pose)).clamp(-limit, limit)


def eased(shapes: Tensor, rest_pose: Tensor, fps: float) -> Tensor:
    """Shapes (n, shape_width) of consecutive frames, of which the first and last become the rest pose (shape_width,).

    In EASE_S it goes over, as t²·(3 − 2t), from there and back.
    """
    places = torch.arange(len(shapes))
    t = (torch.minimum(places, places.flip(0)) / max(EASE_S * fps, 1.0)).clamp(max=1.0)
    return torch.lerp(rest_pose.expand_as(shapes), shapes, (t * t * (3 - 2 * t))[:, None])
