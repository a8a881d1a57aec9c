"""What a generator knows of its clip beside its weights: all its statistics are fitted here.

Before training (`fit_statistics`): the space of mouth shapes, the reference crops, the head's pose by what is seen of
it, the rest pose, and the features' statistics with the amplitude of the mouth. After the motion network:
`spread_gain` and `predicted_part`. When a warp network is saved: `calibrate_amplitude` and `calibrate_sharpness`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator as Steps
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..avatar.dataset import TrainingData
from ..face.detector import FaceMesh, box_of
from ..face.mouth import mouth_opening
from ..inference.driving import mean_of, mouth_amplitude, speech_rows
from ..intervals import describe_ranges, runs
from ..media.audio import load_waveform
from ..models.generator import Generator
from ..models.guided_warp import GuidedWarpNet
from ..models.motion import MotionTrainingConfig
from ..models.retrieval_warp import RetrievalWarpNet
from ..models.tensors import to_input, to_uint8
from ..models.warping import WarpNet
from ..progress import Progress
from ..speech.activity import away_from_speech
from .bank import fit_bank
from .guide import fit_guide
from .references import choose_references

_log = logging.getLogger(__name__)

POSE_FRAMES = 1500  # at most, to fit the pose by; 768 inputs and a ridge; chosen
APART_S = 0.2  # this close to speech a mouth may move already, or still; chosen
MIN_PAUSE_FRAMES = 10  # fewer frames in pauses are no sample of the rest pose; chosen
QUIETEST = 1 / 3  # of the frames in pauses: those with the least opening are the rest pose; chosen
CLOSED = 0.05  # of all frames, where there are too few pauses; chosen
# Slope of the drawn opening over the real one. Chosen on the held-out part of two clips: predicted shapes can move more
# than true ones, and with 0.95 the news presenter's mouth moved 1.19 times as much as the real one.
AMPLITUDE_GOAL = 0.9
MAX_AMPLITUDE = 1.4  # shapes further than this from the mean were hardly trained on; chosen
MAX_SHARPENING = 1.0  # of the detail that is there may be added; chosen
_BATCH = 8  # crops drawn at a time
_POSE_BATCH = 32


class ClipSound:
    """The clip's own sound: decoded once, and looked at for speech once."""

    def __init__(self, data: TrainingData, models: Path | None = None) -> None:
        self._data, self._models = data, models

    @cached_property
    def waveform(self) -> np.ndarray:
        """(m,) float32 -1..1 at 16 kHz."""
        return load_waveform(self._data.avatar.audio)

    @cached_property
    def spoken(self) -> np.ndarray:
        """(k,) int64 rows of the features with speech in them, of the part that is trained on."""
        data = self._data
        times_s = data.audio_times_s(data.train_frames)
        return speech_rows(self.waveform, len(data.features), data.rate_hz, times_s, models=self._models)


def fit_statistics(
    generator: Generator, data: TrainingData, sound: ClipSound, seed: int
) -> Steps[Progress, None, TrainingData]:
    """Fit what is fitted before training; the data without the frames whose landmarks are outliers."""
    steps = 5
    yield Progress("statistics", 0, steps, "mouth shapes")
    data = without_outliers(generator, data)
    shapes = generator.encode_shapes(data.points)
    yield Progress("statistics", 1, steps, "reference crops")
    fit_references(generator, data, seed)
    yield Progress("statistics", 2, steps, "head pose")
    fit_pose(generator, data)
    yield Progress("statistics", 3, steps, "rest pose")
    generator.rest_pose.copy_(rest_shape(data, shapes))
    yield Progress("statistics", 4, steps, "audio features")
    fit_feature_statistics(generator, data, shapes, sound)
    yield Progress("statistics", steps, steps)
    return data


def without_outliers(generator: Generator, data: TrainingData) -> TrainingData:
    """Fit the space of mouth shapes; frames that it leaves out are not trained on, and the user gets a warning."""
    within = generator.fit_shape_space(data.points[data.train_frames]).numpy()
    if not within.all():
        info = data.avatar.info
        broken = np.zeros(info.frame_count, bool)
        broken[data.train_frames[~within]] = True
        ranges = describe_ranges(runs(broken), float(info.fps))
        _log.warning(
            "%s: %d frames are left out, their faces look broken: %s", data.avatar.root.name, broken.sum(), ranges
        )
    return replace(data, train_frames=data.train_frames[within])


def fit_references(generator: Generator, data: TrainingData, seed: int) -> None:
    """Choose the reference crops among the frames to train on."""
    warp, shapes = generator.warp, generator.encode_shapes(data.points)
    if isinstance(warp, RetrievalWarpNet):
        fit_bank(warp, data, shapes, seed)
        return
    chosen = choose_references(data, len(warp.references), seed)
    warp.references.copy_(torch.from_numpy(data.crops[chosen]).permute(0, 3, 1, 2))
    if isinstance(warp, GuidedWarpNet):
        warp.reference_description.copy_(fit_guide(warp, data, shapes, seed)(chosen))


def fit_pose(generator: Generator, data: TrainingData) -> None:
    """Ridge regression of the head's pose on what the warp network sees of a crop."""
    some = data.train_frames[:: max(1, len(data.train_frames) // POSE_FRAMES)]
    parts = (to_input(data.crops[some[k : k + _POSE_BATCH]]) for k in range(0, len(some), _POSE_BATCH))
    generator.warp.fit_pose_inputs(parts, data.pose[some])


def rest_shape(data: TrainingData, shapes: Tensor) -> Tensor:
    """(shape_width,) mouth this person rests with, of the shapes (N, shape_width) of all frames."""
    pauses = away_from_speech(data.spoken, round(APART_S * float(data.avatar.info.fps)))
    frames, part = data.train_frames[pauses[data.train_frames]], QUIETEST
    if len(frames) < MIN_PAUSE_FRAMES:
        frames, part = data.train_frames, CLOSED
    order = np.argsort(mouth_opening(data.landmarks[frames]))
    return shapes[frames[order[: max(1, round(part * len(frames)))]]].mean(0)


def fit_feature_statistics(generator: Generator, data: TrainingData, shapes: Tensor, sound: ClipSound) -> None:
    """Mean and spread of the features, their mean in speech, and how much the mouth moves in speech, of the training
    split; shapes (N, shape_width). With less than `AdaptationConfig.least_s` of speech the amplitude stays 0: unknown.
    """
    motion, spoken = generator.motion, sound.spoken
    features = trained_features(data)
    motion.feature_mean.copy_(features.mean(0))
    motion.feature_std.copy_(features.std(0).clamp_min(1e-3))
    motion.speech_mean.copy_(mean_of(data.features, spoken))
    moving = data.train_frames[data.spoken[data.train_frames]]
    speech_s = min(len(spoken) / data.rate_hz, len(moving) / float(data.avatar.info.fps))
    known = speech_s >= generator.config.adaptation.least_s
    generator.mouth_amplitude.fill_(movement_in_speech(generator, data, shapes) if known else 0.0)


def movement_in_speech(generator: Generator, data: TrainingData, shapes: Tensor) -> float:
    """By `mouth_amplitude`, of shapes (N, shape_width) in the frames to train on in which somebody speaks."""
    return mouth_amplitude(generator, shapes[data.train_frames[data.spoken[data.train_frames]]])


def trained_features(data: TrainingData) -> Tensor:
    """(t, D) float32: the features up to the last frame to train on."""
    last = int(data.rows_at(data.train_frames[-1:])[0])
    return torch.from_numpy(np.array(data.features[: last + 1], np.float32))


def spread_gain(outside: list[tuple[Tensor, Tensor]], settings: MotionTrainingConfig) -> Tensor:
    """(shape_width,) gain that brings the spread of predictions back to the true spread.

    outside: (predicted, true) shapes (n, shape_width) each, of frames that were left out of training. The less a
    component correlates the less of its spread is brought back: there, spread would be noise.
    """
    predicted = torch.cat([one for one, _ in outside])
    true = torch.cat([one for _, one in outside])
    product = ((predicted - predicted.mean(0)) * (true - true.mean(0))).mean(0)
    correlation = product / (predicted.std(0) * true.std(0)).clamp_min(1e-6)
    ratio = (true.std(0) / predicted.std(0).clamp_min(1e-6)).clamp(1.0, settings.max_gain)
    low, high = settings.correlation_gate
    return 1 + ((correlation - low) / (high - low)).clamp(0, 1) * (ratio - 1)


def predicted_part(generator: Generator, outside: list[tuple[Tensor, Tensor]]) -> float:
    """What part of the real movement, by `mouth_amplitude`, is predicted: what speech does not determine is missing.

    outside: as for `spread_gain`, the gain included. Brought to all of the real movement, the lips, whose opening is
    predicted best, would open too far.
    """
    predicted = torch.cat([one for one, _ in outside])
    true = torch.cat([one for _, one in outside])
    return mouth_amplitude(generator, predicted) / max(mouth_amplitude(generator, true), 1e-6)


class RealMouths:
    """Real crops and how far open their mouths are: what the amplitude is calibrated by. They are measured once."""

    def __init__(
        self, mesh: FaceMesh, crops: np.ndarray, landmarks: np.ndarray, frames: np.ndarray | None = None
    ) -> None:
        """crops (n, S, S, 3) uint8, landmarks (n, 468, 2) float32 of their faces, in px of the crops.

        frames: (n,) their numbers in the clip, for `WarpNet.choose`.
        """
        self.crops, self.frames, self._mesh, self._landmarks = crops, frames, mesh, landmarks
        self.opening = self.openings(crops)

    def openings(self, crops: np.ndarray) -> np.ndarray:
        """(n,) as the mesh finds them in crops (n, S, S, 3) of the same faces."""
        return openings(self._mesh, crops, self._landmarks)


def openings(mesh: FaceMesh, crops: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(n,) as the mesh finds them in the crops (n, S, S, 3); landmarks (n, 468, 2) say where the faces are."""
    pairs = zip(crops, landmarks, strict=True)
    return mouth_opening(np.stack([mesh.locate(crop, box_of(points))[0] for crop, points in pairs]))


@torch.no_grad()
def calibrate_amplitude(warp: WarpNet, real: RealMouths, conditions: Tensor) -> None:
    """Set the network's amplitude so that drawn openings have AMPLITUDE_GOAL as their slope over the real ones.

    conditions: (n, frames, shape_width) the shapes of the real mouths.
    """
    amplitudes = np.array([1.0, MAX_AMPLITUDE])
    slopes = []
    for amplitude in amplitudes:
        warp.amplitude.fill_(amplitude)
        drawn = real.openings(to_uint8(_drawn(warp, real.crops, conditions, real.frames)))
        slopes.append(float(np.cov(drawn, real.opening)[0, 1] / max(real.opening.var(ddof=1), 1e-12)))
    warp.amplitude.fill_(float(np.interp(AMPLITUDE_GOAL, np.maximum.accumulate(slopes), amplitudes)))


@torch.no_grad()
def calibrate_sharpness(warp: WarpNet, crops: np.ndarray, conditions: Tensor, frames: np.ndarray | None = None) -> None:
    """Set the network's sharpening so that what it draws is as sharp as the real crops (n, S, S, 3) uint8.

    conditions: (n, frames, shape_width). frames: (n,) their numbers in the clip, for `WarpNet.choose`.
    """
    weight = warp.mask[0, 0].cpu().numpy() > 0.5
    real = mean_sharpness(crops, weight)
    warp.sharpening.fill_(0.0)
    plain = _drawn(warp, crops, conditions, frames)
    warp.sharpening.fill_(MAX_SHARPENING)
    sharp = _drawn(warp, crops, conditions, frames)
    shares = np.linspace(0, 1, 6)  # what is drawn is linear in the sharpening
    found = [mean_sharpness(to_uint8(torch.lerp(plain, sharp, float(share))), weight) for share in shares]
    warp.sharpening.fill_(MAX_SHARPENING * float(np.interp(real, np.maximum.accumulate(found), shares)))


def mean_sharpness(images: np.ndarray, weight: np.ndarray) -> float:
    """Of images (n, S, S, 3) uint8 where weight (S, S) bool is true."""
    return float(np.mean([metrics.sharpness(image, weight) for image in images]))


def neutral(warp: WarpNet) -> None:
    """As if never calibrated."""
    warp.amplitude.fill_(1.0)
    warp.sharpening.fill_(0.0)


def _drawn(warp: WarpNet, crops: np.ndarray, conditions: Tensor, frames: np.ndarray | None) -> Tensor:
    """(n, 3, S, S), on the CPU."""
    device, references, parts = warp.mask.device, warp.enlarge(warp.references), []
    for k in range(0, len(crops), _BATCH):
        batch = slice(k, k + _BATCH)
        pictures, shapes = to_input(crops[batch]).to(device), conditions[batch].to(device)
        numbers = None if frames is None else torch.from_numpy(frames[batch])
        parts.append(warp.draw(pictures, shapes, references, warp.choose(pictures, shapes, numbers)).cpu())
    return torch.cat(parts)
