"""The held-out frames that an evaluation redraws, and what belongs to the clip they are of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..avatar.dataset import TrainingData
from ..face.crop import CropSpec
from ..face.mask import Reach

MAX_FRAMES = 300
OTHER_PART = 0.45  # of the held-out part: how far away the other passage is (no whole number of equal sentences)


@dataclass(frozen=True)
class HeldOut:
    """m frames that were not trained on. The rows of what is measured on them are in their order."""

    data: TrainingData
    frames: np.ndarray  # (m,) int64 their numbers, ascending
    transforms: np.ndarray  # (N, 2, 3) float32 source px → crop px of every frame of the clip
    crops: np.ndarray = field(repr=False)  # (m, S, S, 3) uint8, as they are in the clip

    @property
    def spec(self) -> CropSpec:
        """Of the crops."""
        return self.data.avatar.crop

    @property
    def measured(self) -> CropSpec:
        """The same with the mask that reaches furthest: in it pictures are compared, whatever a generator redraws."""
        return replace(self.spec, reach=Reach())

    @property
    def fps(self) -> float:
        """Frames per second of the clip."""
        return float(self.data.avatar.info.fps)

    @property
    def landmarks(self) -> np.ndarray:
        """(m, 468, 2) float32, px of the source frames."""
        return self.data.landmarks[self.frames]

    @property
    def own_rows(self) -> np.ndarray:
        """(m,) int64: every row itself."""
        return np.arange(len(self.frames))

    @property
    def other_rows(self) -> np.ndarray:
        """(m,) int64: the rows of another passage, which goes on at the first row where the frames end."""
        return np.roll(self.own_rows, -round(OTHER_PART * len(self.frames)))


def hold_out(data: TrainingData, max_frames: int = MAX_FRAMES) -> HeldOut:
    """The first held-out frames, at most so many."""
    frames = data.held_out[:max_frames]
    return HeldOut(data, frames, data.transforms, np.array(data.crops[frames]))


def crop_jitter(held_out: HeldOut) -> float:
    """How unsteadily crops are placed: rms second difference over time of the crop's centre, in face units.

    Over the whole held-out part.
    """
    frames, spec = held_out.data.held_out, held_out.spec
    transforms, shots = held_out.transforms[frames], held_out.data.shots.numpy()[frames]
    linear = transforms[:, :, :2].astype(np.float64)
    centre = np.einsum("nij,nj->ni", np.linalg.inv(linear), spec.size / 2 - transforms[:, :, 2])
    scale = np.hypot(linear[:, 0, 0], linear[:, 1, 0])[1:-1, None] / spec.px_per_unit
    together = (frames[2:] - frames[:-2] == 2) & (shots[2:] == shots[:-2])
    bend = (centre[:-2] - 2 * centre[1:-1] + centre[2:]) * scale
    return float(np.sqrt((bend[together] ** 2).sum(1).mean())) if together.any() else 0.0
