"""The motion prior: audio features → how anybody's mouth moves to them, trained on many speakers.

Its mouth shapes are canonical: the head's pose and the speaker's mean shape are taken out, and the spread of the lips'
opening is 1. So are its features: the mean of the speaker's in speech is taken out of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ..errors import WeightsError
from .blocks import MOST_MEMBERS, MotionMember
from .config import Config

ENCODER = "whisper-tiny"  # whose features the packaged prior takes
FILE = "motion_prior.safetensors"  # in this folder; made by `python -m benchmarks.train_prior`
SHA256 = "af58d608058641f76c9634c24b124d8b1159d12a0e227eb11b369243c2b61ee9"


@dataclass(frozen=True)
class PriorConfig(Config):
    """Sizes of the motion prior."""

    feature_width: int
    shape_points: int = 53  # landmarks of lips and jaw
    shape_width: int = 10
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.2
    members: int = 3

    def __post_init__(self) -> None:
        if self.members > MOST_MEMBERS:
            raise ValueError(f"{self.members} networks in the motion prior; {MOST_MEMBERS} are the most")


class MotionPrior(nn.Module):
    """Average of a few members, in the space of mouth shapes that all speakers share."""

    feature_std: Tensor
    shape_basis: Tensor
    shape_std: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.feature_width, config.shape_width, config.channels, config.dilations, config.dropout)
        self.members = nn.ModuleList(MotionMember(*sizes) for _ in range(config.members))
        self.register_buffer("feature_std", torch.ones(config.feature_width))
        self.register_buffer("shape_basis", torch.zeros(config.shape_width, 2 * config.shape_points))
        self.register_buffer("shape_std", torch.ones(config.shape_width))

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, D) → (B, T, shape_width) canonical mouth shape in standard deviations.

        The features are normalised: less the speaker's mean in speech, divided by `feature_std`.
        """
        return torch.stack([member(features) for member in self._members()]).mean(0)

    @property
    def hidden_width(self) -> int:
        """Width of what `hidden` returns."""
        return self.config.members * self.config.channels

    def hidden(self, features: Tensor) -> Tensor:
        """features (B, T, D), normalised, → (B, T, hidden_width) what the members read the shape from."""
        return torch.cat([member.hidden(features) for member in self._members()], dim=-1)

    def shape_head(self) -> tuple[Tensor, Tensor]:
        """(2P, hidden_width) and (2P,): the canonical mouth shape as weight and bias of what `hidden` returns."""
        projections = [member.output_proj for member in self._members()]
        weight = torch.cat([one.weight for one in projections], dim=1) / len(projections)
        bias = torch.stack([one.bias for one in projections]).mean(0)
        to_points = self.shape_basis.T * self.shape_std
        return to_points @ weight, to_points @ bias

    def _members(self) -> list[MotionMember]:
        return cast("list[MotionMember]", list(self.members))


def prior_of(encoder: str) -> MotionPrior | None:
    """The prior of the package for the features of this encoder (its canonical name), or None where there is none."""
    return open_prior() if encoder == ENCODER else None


def open_prior(path: Path | None = None) -> MotionPrior:
    """The prior of the package, or of a copy of its file; frozen, in eval mode. WeightsError when it is damaged."""
    path = path or Path(__file__).parent / FILE
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise WeightsError(f"{path} is damaged (sha256 differs): install the package again")
    tensors = {name: tensor.float() for name, tensor in load(content).items()}
    prior = MotionPrior(PriorConfig(len(tensors["feature_std"])))
    prior.load_state_dict(tensors)
    return prior.eval().requires_grad_(False)
