"""How well a warp network in training draws the held-out part, and the calibration of the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..face.crop import in_crop
from ..face.detector import FaceMesh
from ..face.mouth import mouth_opening
from ..inference.driving import mouth_shapes
from ..models.generator import with_neighbours
from ..models.tensors import to_input, to_uint8
from ..speech.features import AudioFeatures
from .calibration import ClipSound, RealMouths, calibrate_amplitude, calibrate_sharpness, neutral
from .warp import WarpTraining

VALIDATED = 48  # held-out frames at most, evenly over the held-out part; chosen
CALIBRATED_BY = 80  # frames at most, evenly over those trained on; chosen
CALIBRATED_APART = 3  # frames from one to the next at least: nearer ones show nearly the same mouth; chosen
_SHARP_EVERY = 4  # of these, for the sharpness: it hardly differs from crop to crop; chosen
_BATCH = 16


class Validation(NamedTuple):
    """What one validation found."""

    metrics: dict[str, float]
    preview: np.ndarray  # (H, W, 3) uint8: covered input | generated | target


class WarpValidation:
    """Validates the averaged weights of a `WarpTraining`. What never changes in a run is measured once."""

    def __init__(self, training: WarpTraining, encoder: str, sound: ClipSound, models: Path | None = None) -> None:
        self._training, self._encoder, self._sound, self._models = training, encoder, sound, models
        held_out, trained = training.data.held_out, training.data.train_frames
        self.frames = held_out[_evenly(len(held_out), min(VALIDATED, len(held_out)))]
        self.calibrated_by = trained[_evenly(len(trained), min(CALIBRATED_BY, -(-len(trained) // CALIBRATED_APART)))]

    def validate(self, done: float, keep: Callable[[dict[str, float]], None]) -> Validation:
        """Draw the held-out frames; `keep` is called, with metrics, while the network holds weights that are the best.

        The score is that of the network as it is trained. Amplitude and sharpening, which take four times as long to
        calibrate, are calibrated for weights that are kept, and are neutral otherwise. done: 0..1 of the run.
        """
        training = self._training
        targets = to_input(training.data.crops[self.frames]).to(training.device)
        with training.state.average.in_place(training.warp):
            neutral(training.warp)
            drawn = self._redrawn(targets)
            inside, true = training.region.cut(drawn), training.region.cut(targets)
            l1, lpips = float(training.region.l1(inside, true)), float(training.lpips(inside, true).mean())
            metrics = {"held_out_l1": l1, "held_out_lpips": lpips}
            if training.state.beats(l1 + training.options.lpips_weight * lpips, metrics, done):
                self.calibrate()
                keep(metrics)
            return Validation(metrics, self._preview(targets))

    def calibrate(self) -> None:
        """By frames trained on: how far the mouth moves, and, conditioned on the audio, how sharp it is."""
        training, frames = self._training, self.calibrated_by
        some = frames[::_SHARP_EVERY]
        real, conditions = self._real, self._audio_conditions[some]  # other networks than those that are trained
        with training.autocast():
            calibrate_amplitude(training.warp, real, training.conditions[frames])
            calibrate_sharpness(training.warp, training.data.crops[some], conditions, some)

    @cached_property
    def _real(self) -> RealMouths:
        data, frames = self._training.data, self.calibrated_by
        places = in_crop(data.landmarks[frames], data.transforms[frames])
        return RealMouths(FaceMesh(self._models), data.crops[frames], places, frames)

    @cached_property
    def _audio_conditions(self) -> Tensor:
        """(N, frames, shape_width) as the trained motion network predicts them from the clip's sound."""
        data, generator = self._training.data, self._training.generator
        generator.motion.eval()
        features = AudioFeatures(data.features, data.rate_hz, self._encoder)
        times_s = data.audio_times_s(np.arange(len(data.crops)))
        shapes = mouth_shapes(generator, features, times_s, self._sound.waveform, models=self._models)
        return with_neighbours(shapes, generator.config.warp.frames, data.shots)

    @torch.no_grad()
    def _redrawn(self, targets: Tensor) -> Tensor:
        """(n, 3, S, S) float32."""
        training, parts = self._training, []
        conditions = training.conditions[self.frames].to(training.device)
        for crops, shapes in zip(targets.split(_BATCH), conditions.split(_BATCH), strict=True):
            with training.autocast():
                parts.append(training.warp.draw(crops, shapes, training.references).float())
        return torch.cat(parts)

    @torch.no_grad()
    def _preview(self, targets: Tensor) -> np.ndarray:
        """(H, W, 3) uint8: the held-out frame with the widest mouth, as the network draws it now."""
        training = self._training
        widest = int(mouth_opening(training.data.landmarks[self.frames]).argmax())
        target = targets[widest : widest + 1]
        shapes = training.conditions[self.frames[widest]][None].to(training.device)
        with training.autocast():
            drawn = training.warp.draw(target, shapes, training.references).float()
        covered = training.warp.mask_input(target)[:, :3]
        return np.concatenate([to_uint8(image)[0] for image in (covered, drawn, target)], axis=1)


def _evenly(count: int, chosen: int) -> np.ndarray:
    """(chosen,) int64 of 0..count - 1."""
    return np.linspace(0, count - 1, chosen).astype(int)
