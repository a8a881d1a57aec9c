"""Building blocks the networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_MEMBERS = 64  # of an ensemble


class Film(nn.Module):
    """Scale and shift of every channel from a condition vector (FiLM, Perez et al. 2018); starts as the identity."""

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.to_scale_shift.weight)
        nn.init.zeros_(self.to_scale_shift.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B, D) → (B, C, H, W)."""
        scale, shift = self.to_scale_shift(condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, x, 1 + scale)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut, FiLM between them where a condition is given."""

    def __init__(self, inputs: int, outputs: int, condition: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.film = Film(condition, outputs) if condition else None
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, inputs, H, W), condition (B, D) or None → (B, outputs, H, W)."""
        hidden = self.conv1(x)
        if self.film is not None and condition is not None:
            hidden = self.film(hidden, condition)
        return self.act(self.shortcut(x) + self.conv2(self.act(hidden)))


class Dropout(nn.Dropout):
    """Knows of what batch its input is a part: what is dropped does not depend on how a batch is shared out."""

    part: tuple[slice, int] | None = None  # rows of a batch in training that come, and how many it has; None: all come

    def forward(self, input: Tensor) -> Tensor:
        """(B, …) → the same."""
        if self.part is None or not self.training:
            return self.drop(input)
        rows, count = self.part
        return input * self.drop(input.new_ones(count, *input.shape[1:]))[rows]

    def drop(self, input: Tensor) -> Tensor:
        """A whole batch (B, …) → the same."""
        return F.dropout(input, self.p, self.training)


class ChannelDropout(Dropout):
    """Drops channels for a whole stretch of time: trains as well as dropping single values does, in half the time."""

    def drop(self, input: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        return F.dropout1d(input.transpose(1, 2), self.p, self.training).transpose(1, 2)


class DilatedBlock(nn.Module):
    """Residual convolution over time, width 5, as one matrix product over shifted rows (twice as fast on a CPU).

    Every moment is normalised by itself: the result does not depend on what comes later.
    """

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.dilated_conv = nn.Linear(5 * channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.output_proj = nn.Linear(channels, channels)
        self.dropout = ChannelDropout(dropout)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        length = x.shape[1]
        padded = F.pad(x, (0, 0, 2 * self.dilation, 2 * self.dilation))
        around = torch.cat([padded[:, k * self.dilation :][:, :length] for k in range(5)], dim=-1)
        return x + self.output_proj(self.dropout(self.act(self.norm(self.dilated_conv(around)))))


class MotionMember(nn.Module):
    """One temporal network of an ensemble that predicts mouth shapes."""

    def __init__(
        self, feature_width: int, shape_width: int, channels: int, dilations: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.input_proj = nn.Linear(feature_width, channels)
        self.dropout = ChannelDropout(dropout)
        self.blocks = nn.Sequential(*[DilatedBlock(channels, dilation, dropout) for dilation in dilations])
        self.output_proj = nn.Linear(channels, shape_width)

    def forward(self, features: Tensor) -> Tensor:
        """features (B, T, D), normalised → shape (B, T, shape_width) in standard deviations."""
        return self.output_proj(self.hidden(features))

    def hidden(self, features: Tensor) -> Tensor:
        """features (B, T, D), normalised → (B, T, channels) what the shape is read from."""
        return self.blocks(self.dropout(self.input_proj(self.dropout(features))))


def identity_grid(height: int, width: int, rows: slice, columns: slice) -> Tensor:
    """(h, w, 2) float32 grid_sample coordinates (align_corners=False) of the px in rows × columns of an H × W image."""
    y = (torch.arange(rows.start, rows.stop, dtype=torch.float32) + 0.5) * 2 / height - 1
    x = (torch.arange(columns.start, columns.stop, dtype=torch.float32) + 0.5) * 2 / width - 1
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1)


def unshuffle_channels_last(x: Tensor, stride: int) -> Tensor:
    """`F.pixel_unshuffle` of (B, C, H, W) → (B, C · stride², H / stride, W / stride), channels last for convolutions.

    Three times as fast as both steps one after the other.
    """
    height, width = x.shape[2:]
    parts = x.unflatten(3, (width // stride, stride)).unflatten(2, (height // stride, stride))
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).permute(0, 3, 1, 2)


def box_blur(x: Tensor) -> Tensor:
    """(B, C, H, W) → the mean of the 3×3 px around each; four times as fast as pooling at once."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    return (x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]) / 9


def shuffle_without_repetition(cells: Tensor, stride: int) -> Tensor:
    """`F.pixel_shuffle` of (B, C · stride², h, w) → (B, C, H, W), without a pattern that repeats from cell to cell.

    The means of the cells are enlarged linearly. Of what the pixels of a cell differ by from its mean, the average over
    the 3×3 cells around is taken away.
    """
    by_cell = cells.unflatten(1, (-1, stride**2))
    means = by_cell.mean(2)
    fine = (by_cell - means[:, :, None]).flatten(1, 2)
    coarse = F.interpolate(means, scale_factor=stride, mode="bilinear", align_corners=False)
    return coarse + F.pixel_shuffle(fine - box_blur(fine), stride)


def upsample_matrix(length: int, stride: int) -> Tensor:
    """(length / stride, length) float32: a row of a low-resolution map times this is that row, enlarged linearly.

    The result of the matrix products lies in memory as sampling wants it; that of `interpolate` does not.
    """
    low = torch.eye(length // stride)[:, None]
    return F.interpolate(low, size=length, mode="linear", align_corners=False)[:, 0]
