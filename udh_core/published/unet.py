"""The published U-Net of Ultralight-Digital-Human, hubert and wenet variants: for imported models and for comparison.

Names of modules are those of its checkpoints, so that a published state dict loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Variant = Literal["hubert", "wenet"]
SIDE = 160  # px of its input and output
WIDTHS = (32, 64, 128, 256, 512)
AUDIO_CHANNELS: Mapping[Variant, int] = {"hubert": 16, "wenet": 128}


class InvertedResidual(nn.Module):
    """1×1 up, depthwise 3×3, 1×1 down, batch norm after each; around it a shortcut where `residual` is set."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, residual: bool = False, expansion: int = 2) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H/stride, W/stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class Double(nn.Module):
    """An InvertedResidual that changes width and size, and one with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            InvertedResidual(inputs, outputs, stride), InvertedResidual(outputs, outputs, residual=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H/stride, W/stride)."""
        return self.double_conv(x)


class Enter(nn.Module):
    """First layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inconv = InvertedResidual(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        return self.inconv(x)


class Down(nn.Module):
    """Half the size. (It has no pooling; the checkpoints call it so.)"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = Double(inputs, outputs, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H/2, W/2)."""
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the size, joined with the features that the way down had there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Double(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (B, C, h, w), skip (B, inputs − C, H, W) with H ≥ 2h, W ≥ 2w → (B, outputs, H, W)."""
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        high, wide = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        if high or wide:
            x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
        return self.conv(torch.cat([x, skip], dim=1))


class Leave(nn.Module):
    """Last layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        return self.conv(x)


class AudioBranch(nn.Module):
    """Audio window → features of the size of the U-Net's bottom."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        channels = AUDIO_CHANNELS[variant]
        if variant == "hubert":
            self.conv1, self.conv2 = InvertedResidual(channels, 64), InvertedResidual(64, 128)
            self.conv3 = nn.Conv2d(128, 256, 3, stride=2, padding=1)
        else:
            self.conv1, self.conv2 = InvertedResidual(channels, 256), InvertedResidual(256, 256, residual=True)
            self.conv3 = nn.Conv2d(256, 256, 3, stride=(1, 2), padding=1)
        self.bn3 = nn.BatchNorm2d(256)
        self.conv4 = InvertedResidual(256, 256, residual=True)
        self.conv5 = nn.Conv2d(256, 512, 3, stride=2, padding=3)
        self.bn5 = nn.BatchNorm2d(512)
        self.conv6 = InvertedResidual(512, 512, residual=True)
        self.conv7 = InvertedResidual(512, 512, residual=True)

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, 16, 32, 32) of hubert or (B, 128, 16, 32) of wenet → (B, 512, 10, 10)."""
        x = F.relu(self.bn3(self.conv3(self.conv2(self.conv1(audio)))))
        x = F.relu(self.bn5(self.conv5(self.conv4(x))))
        return self.conv7(self.conv6(x))


class PublishedUNet(nn.Module):
    """12.16 M parameters, 3.16 GMAC per frame (hubert)."""

    def __init__(self, variant: Variant = "hubert") -> None:
        super().__init__()
        self.variant: Variant = variant
        a, b, c, d, e = WIDTHS
        self.audio_model = AudioBranch(variant)
        self.fuse_conv = nn.Sequential(Double(2 * e, e), Double(e, d))
        self.inc = Enter(6, a)
        self.down1, self.down2 = Down(a, b), Down(b, c)
        self.down3, self.down4 = Down(c, d), Down(d, e)
        self.up1, self.up2 = Up(2 * d, c), Up(2 * c, b)
        self.up3, self.up4 = Up(2 * b, a), Up(2 * a, a)
        self.outc = Leave(a, 3)

    def forward(self, images: Tensor, audio: Tensor) -> Tensor:
        """images (B, 6, 160, 160) BGR 0..1: reference, then the crop with its mouth blacked out; → (B, 3, 160, 160).

        audio as in `AudioBranch`. See `published` for how both are made.
        """
        x1 = self.inc(images)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.fuse_conv(torch.cat([self.down4(x4), self.audio_model(audio)], dim=1))
        x = self.up4(self.up3(self.up2(self.up1(x, x4), x3), x2), x1)
        return torch.sigmoid(self.outc(x))
