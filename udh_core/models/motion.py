"""The motion network: audio features → mouth shape over time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import ChannelDropout, DilatedBlock
from .config import Config

MOST_MEMBERS = 64


@dataclass(frozen=True)
class MotionConfig(Config):
    """Sizes of the motion network."""

    feature_width: int
    shape_width: int = 12
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.2
    members: int = 3

    def __post_init__(self) -> None:
        if self.members > MOST_MEMBERS:
            raise ValueError(f"{self.members} motion networks; {MOST_MEMBERS} are the most")


@dataclass(frozen=True)
class MotionTrainingConfig(Config):
    """How the motion network is trained. All numbers chosen, but for those that `benchmarks.ablations` varies."""

    chunk_s: float = 4.0
    batch: int = 16  # chunks
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.02
    noise: float = 0.1  # added to the normalised features, in their standard deviations
    augmented_share: float = 0.5  # of the batches come from augmented speech
    silent_weight: float = 1 / 16  # of the one stretch of silence in each batch: as much as one chunk
    check_every: int = 50  # steps
    max_gain: float = 1.5  # of `MotionNet.variance_gain`
    correlation_gate: tuple[float, ...] = (0.3, 0.7)  # from which on the spread of a component is restored, and fully


class MotionMember(nn.Module):
    """One temporal network of the ensemble."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.input_proj = nn.Linear(config.feature_width, config.channels)
        self.dropout = ChannelDropout(config.dropout)
        self.blocks = nn.Sequential(*[DilatedBlock(config.channels, d, config.dropout) for d in config.dilations])
        self.output_proj = nn.Linear(config.channels, config.shape_width)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, D), normalised → shape (B, T, shape_width) in standard deviations."""
        return self.output_proj(self.blocks(self.dropout(self.input_proj(self.dropout(features)))))


class MotionNet(nn.Module):
    """Average of a few members, brought back to the variance that averaging and regression take away.

    Works at the features' own rate, so a model trained at one frame rate serves any other.
    """

    feature_mean: Tensor
    feature_std: Tensor
    speech_mean: Tensor
    variance_gain: Tensor

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(MotionMember(config) for _ in range(config.members))
        self.register_buffer("feature_mean", torch.zeros(config.feature_width))
        self.register_buffer("feature_std", torch.ones(config.feature_width))
        self.register_buffer("speech_mean", torch.zeros(config.feature_width))  # of the features where somebody speaks
        self.register_buffer("variance_gain", torch.ones(config.shape_width))

    def normalise(self, features: Tensor) -> Tensor:
        """(…, D) → (…, D), each feature to zero mean and unit variance over the training split."""
        return (features - self.feature_mean) / self.feature_std

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, D) → shape (B, T, shape_width) in standard deviations."""
        normalised = self.normalise(features)
        return torch.stack([member(normalised) for member in self.members]).mean(0) * self.variance_gain
