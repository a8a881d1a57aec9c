"""The generator: a motion network (audio → mouth shape) and a warp network (shape → redrawn crop)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..face.crop import CropSpec
from .config import table, whole
from .motion import MotionConfig, MotionNet
from .warping import WarpConfig, WarpNet

SHAPE_REACH = 6.0  # standard deviations


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of both networks."""

    motion: MotionConfig
    warp: WarpConfig
    shape_points: int

    def to_dict(self) -> dict[str, Any]:
        return {"motion": self.motion.to_dict(), "warp": self.warp.to_dict(), "shape_points": self.shape_points}

    @staticmethod
    def from_dict(values: object) -> GeneratorConfig:
        """From JSON; ValueError as in `from_json`, or when the networks do not share a space of mouth shapes."""
        parts = table(values, "GeneratorConfig")
        motion, warp = MotionConfig.from_dict(parts.get("motion")), WarpConfig.from_dict(parts.get("warp"))
        if motion.shape_width != warp.shape_width:
            raise ValueError(f"its networks differ in shape_width: {motion.shape_width} and {warp.shape_width}")
        return GeneratorConfig(motion, warp, whole(parts.get("shape_points"), "shape_points"))


class Generator(nn.Module):
    """Both networks and the space of mouth shapes they share: principal components of lips and jaw."""

    shape_mean: Tensor
    shape_basis: Tensor
    shape_std: Tensor
    rest_pose: Tensor
    mouth_amplitude: Tensor

    def __init__(self, config: GeneratorConfig, spec: CropSpec) -> None:
        super().__init__()
        self.config = config
        self.motion = MotionNet(config.motion)
        self.warp = WarpNet(config.warp, spec)
        width = 2 * config.shape_points
        self.register_buffer("shape_mean", torch.zeros(width))
        self.register_buffer("shape_basis", torch.zeros(config.motion.shape_width, width))
        self.register_buffer("shape_std", torch.ones(config.motion.shape_width))
        self.register_buffer("rest_pose", torch.zeros(config.motion.shape_width))  # the shape of silence
        self.register_buffer("mouth_amplitude", torch.zeros(()))  # of the mouth in speech, see `speaker`; 0: unknown

    @torch.no_grad()
    def fit_shape_space(self, points: Tensor) -> Tensor:
        """Principal components of points (N, P, 2) float32 in face units; sets the shape space.

        (N,) bool: which of them it is of. The others, more than SHAPE_REACH from the rest, are of landmarks gone
        astray, as in broken pictures.
        """
        flat = points.flatten(1)
        within = torch.ones(len(flat), dtype=torch.bool)
        for _ in range(2):  # the astray stretch the first space, and hide in it
            self._span(flat[within])
            within = (self._deviations(flat).abs() <= SHAPE_REACH).all(1)
        self._span(flat[within])
        return within

    def encode_shapes(self, points: Tensor) -> Tensor:
        """points (N, P, 2) float32 in face units → (N, shape_width) in standard deviations, SHAPE_REACH at most."""
        return self._deviations(points.flatten(1)).clamp(-SHAPE_REACH, SHAPE_REACH)

    def _span(self, flat: Tensor) -> None:
        self.shape_mean.copy_(flat.mean(0))
        basis = torch.linalg.svd(flat - self.shape_mean, full_matrices=False).Vh[: len(self.shape_std)]
        sign = basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()  # the SVD leaves it open
        self.shape_basis.copy_(basis * sign)
        self.shape_std.copy_(((flat - self.shape_mean) @ self.shape_basis.T).std(0).clamp_min(1e-4))

    def _deviations(self, flat: Tensor) -> Tensor:
        return (flat - self.shape_mean) @ self.shape_basis.T / self.shape_std


def with_neighbours(shapes: Tensor, frames: int, shots: Tensor | None = None) -> Tensor:
    """(N, D) → (N, frames, D): each shape with those around it, its own repeated at the ends and at cuts.

    shots: (N,) int number of the shot each frame belongs to; None = one shot.
    """
    count = len(shapes)
    own = torch.arange(count, device=shapes.device)
    columns = []
    for offset in range(-(frames // 2), frames // 2 + 1):
        other = (own + offset).clamp(0, count - 1)
        if shots is not None:
            other = torch.where(shots[other] == shots, other, own)
        columns.append(shapes[other])
    return torch.stack(columns, dim=1)
