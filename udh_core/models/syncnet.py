"""SyncNet (after Chung & Zisserman 2016, "Out of time"): does this stretch of audio belong to these five mouths?

Both are embedded on one unit sphere and trained with the InfoNCE loss (van den Oord et al. 2018); faces and layers are
smaller than in the original, and the audio comes as features of an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import DilatedBlock, Dropout
from .config import Config


@dataclass(frozen=True)
class SyncNetConfig(Config):
    """Sizes of the SyncNet."""

    feature_width: int
    frames: int = 5
    rows: int = 10  # times at which features are taken for five frames
    height: int = 64
    width: int = 96
    embedding: int = 128
    channels: tuple[int, ...] = (32, 64, 128, 192)
    dropout: float = 0.2


class SyncNet(nn.Module):
    """Embeds mouths and audio on one unit sphere; their cosine says how well they fit. No ReLU on the embeddings."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: SyncNetConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("feature_mean", torch.zeros(config.feature_width))
        self.register_buffer("feature_std", torch.ones(config.feature_width))
        self.log_temperature = nn.Parameter(torch.tensor(-2.3))  # 0.1
        layers: list[nn.Module] = []
        inputs = config.frames
        for outputs in config.channels:
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.GELU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.GELU()]
            inputs = outputs
        self.visual_encoder = nn.Sequential(*layers, nn.Flatten(), Dropout(config.dropout))
        scale = 2 ** len(config.channels)
        self.visual_proj = nn.Linear(inputs * (config.height // scale) * (config.width // scale), config.embedding)
        self.audio_input_proj = nn.Linear(config.feature_width, 128)
        self.audio_encoder = nn.Sequential(
            Dropout(config.dropout),
            DilatedBlock(128, 1, config.dropout),
            DilatedBlock(128, 1, config.dropout),
            nn.Flatten(),
        )
        self.audio_proj = nn.Linear(128 * config.rows, config.embedding)

    def expect(self, rows: slice, count: int) -> None:
        """From now on only these rows of batches of `count` come to be trained on."""
        for part in self.modules():
            if isinstance(part, Dropout):
                part.part = rows, count

    def embed_mouths(self, mouths: Tensor) -> Tensor:
        """mouths (B, frames, height, width) grey 0..1 → (B, embedding), unit length."""
        centred = mouths - mouths.mean((1, 2, 3), keepdim=True)
        scaled = centred / (
            mouths.std((1, 2, 3), keepdim=True) + 0.05
        )  # brightness and contrast say nothing about sync
        return F.normalize(self.visual_proj(self.visual_encoder(scaled)).float(), dim=1)

    def embed_audio(self, features: Tensor) -> Tensor:
        """features (B, rows, D) → (B, embedding), unit length."""
        normalised = (features - self.feature_mean) / self.feature_std
        return F.normalize(self.audio_proj(self.audio_encoder(self.audio_input_proj(normalised))).float(), dim=1)
