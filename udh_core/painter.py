"""From mouth shapes to frames with a redrawn mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import geometry
from .avatar import Avatar
from .batches import autocast_dtype, to_input, to_uint8
from .landmarks import FaceTrack
from .models.generator import Generator, with_neighbours


def steer(generator: Generator, shapes: Tensor) -> Tensor:
    """(n, shape_width) consecutive shapes → (n, frames, shape_width), what the pixels network is steered by."""
    return with_neighbours(shapes, generator.config.pixels.frames)


@dataclass(frozen=True)
class Painter:
    """Redraws the mouth in frames of an avatar; the generator's pixels network is converted for it, see `render_in`."""

    avatar: Avatar
    track: FaceTrack
    generator: Generator
    feather: float = geometry.FEATHER

    def __post_init__(self) -> None:
        dtype = autocast_dtype(self.generator.shape_mean.device)
        if dtype is not None:
            self.generator.pixels.render_in(dtype)

    @torch.inference_mode()
    def redraw(self, crops: np.ndarray, steered: Tensor) -> np.ndarray:
        """Crops (B, S, S, 3) uint8 and shapes (B, frames, shape_width) → redrawn crops (B, S, S, 3) uint8."""
        device = self.generator.shape_mean.device
        inputs = to_input(crops).to(device, memory_format=torch.channels_last)
        return to_uint8(self.generator.pixels(inputs, steered.to(device)))

    def paint(self, frames: Sequence[np.ndarray], numbers: Sequence[int], steered: Tensor) -> list[np.ndarray]:
        """Frames (H, W, 3) uint8 of the given numbers with their mouths redrawn; without a face a frame stays as it is.

        Pixels outside the mask are the input's own bytes.
        """
        result = list(frames)
        with_face = [k for k, number in enumerate(numbers) if self.track.present[number]]
        if not with_face:
            return result
        spec, transforms = self.avatar.crop, self.track.transforms
        crops = np.stack([geometry.crop(frames[k], transforms[numbers[k]], spec) for k in with_face])
        for k, patch in zip(with_face, self.redraw(crops, steered[with_face]), strict=True):
            result[k] = geometry.paste(frames[k], patch, transforms[numbers[k]], spec, self.feather)
        return result
