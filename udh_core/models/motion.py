"""The motion network: audio features → mouth shape over time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import MOST_MEMBERS, MotionMember
from .config import Config
from .motion_prior import MotionPrior, PriorConfig


@dataclass(frozen=True)
class MotionConfig(Config):
    """Sizes of the motion network."""

    feature_width: int
    shape_width: int = 12
    channels: int = 128
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.2
    members: int = 3
    prior: PriorConfig | None = None  # there is none for other encoders, and in older files

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


class MotionNet(nn.Module):
    """Average of a few members, brought back to the variance that averaging and regression take away.

    With a motion prior, which was trained on many speakers and is frozen, a share of the shape is read from it by this
    person's head; the less a voice is the clip's, the more is read by a head that knows only the size of this mouth.
    Works at the features' own rate, so a model trained at one frame rate serves any other.
    """

    prior_share: Tensor
    general_amplitude: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    speech_mean: Tensor
    variance_gain: Tensor

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.feature_width, config.shape_width, config.channels, config.dilations, config.dropout)
        self.members = nn.ModuleList(MotionMember(*sizes) for _ in range(config.members))
        self.prior: MotionPrior | None = None
        if config.prior is not None:
            self.prior = MotionPrior(config.prior)
            self.prior_head = nn.Linear(self.prior.hidden_width, config.shape_width)
            self.general_head = nn.Linear(self.prior.hidden_width, config.shape_width)
            self.register_buffer("prior_share", torch.zeros(()))
            self.register_buffer("general_amplitude", torch.zeros(()))
        self.register_buffer("feature_mean", torch.zeros(config.feature_width))
        self.register_buffer("feature_std", torch.ones(config.feature_width))
        self.register_buffer("speech_mean", torch.zeros(config.feature_width))  # of the features where somebody speaks
        self.register_buffer("variance_gain", torch.ones(config.shape_width))

    def normalise(self, features: Tensor) -> Tensor:
        """(…, D) → (…, D), each feature to zero mean and unit variance over the training split."""
        return (features - self.feature_mean) / self.feature_std

    def forward(self, features: Tensor, distance: Tensor | None = None) -> Tensor:
        """features (B, T, D) → shape (B, T, shape_width) in standard deviations.

        distance: (B,) 0..1 of the voices from that of the clip, as `inference.driving.voice_distance` says; None: 0.
        Without a motion prior nothing depends on it.
        """
        normalised = self.normalise(features)
        shape = torch.stack([member(normalised) for member in self.members]).mean(0)
        if self.prior is not None:
            hidden = self.prior_hidden(features)
            shape = shape + self.prior_share * (self.prior_head(hidden) - shape)
            if distance is not None:
                shape = shape + distance[:, None, None] * (self.general_head(hidden) - shape)
        return shape * self.variance_gain

    def set_prior(self, prior: MotionPrior | None) -> None:
        """Take over the weights of this prior, of the sizes that the configuration says; they are not trained."""
        if self.prior is not None and prior is not None:
            self.prior.load_state_dict(prior.state_dict())
            self.prior.requires_grad_(False).eval()

    def prior_hidden(self, features: Tensor) -> Tensor:
        """features (B, T, D) → (B, T, hidden_width) what both heads read the shape from."""
        prior = self.prior
        if prior is None:
            raise ValueError("there is no motion prior in this network")
        return prior.hidden((features - self.speech_mean) / prior.feature_std)
