"""LPIPS, the learned perceptual distance (Zhang et al. 2018), with AlexNet."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ..weights.registry import weight_path

# The scaling layer of LPIPS 0.1 for images in [-1, 1].
_LPIPS_SHIFT = (-0.030, -0.088, -0.188)
_LPIPS_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-8  # inside the root: where all features are 0, the root itself has no finite gradient


class Lpips(nn.Module):
    """Learned perceptual distance, AlexNet variant of LPIPS 0.1 (Zhang et al. 2018); frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self, models: Path | None = None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        tensors = load_file(weight_path("lpips_alex.safetensors", models))
        for i, conv in enumerate(self.convs, start=1):
            conv.load_state_dict(
                {"weight": tensors[f"conv{i}.weight"].float(), "bias": tensors[f"conv{i}.bias"].float()}
            )
        for i in range(5):
            self.register_buffer(f"lin{i}", tensors[f"lin{i}"].float().reshape(-1))
        self.register_buffer("shift", torch.tensor(_LPIPS_SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(_LPIPS_SCALE)[None, :, None, None])
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """images (B, 3, H, W) RGB 0..1 → the five unit-normalised feature maps."""
        x = (images * 2 - 1 - self.shift) / self.scale
        maps = []
        for i, conv in enumerate(self.convs):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = F.relu(conv(x))
            maps.append(unit_features(x))
        return maps

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B,) distances of images and targets, both (B, 3, H, W) RGB 0..1; no gradient flows into targets."""
        with torch.no_grad():
            wanted = self.features(targets)
        total = images.new_zeros(len(images), dtype=torch.float32)
        for i, (a, b) in enumerate(zip(self.features(images), wanted, strict=True)):
            weight = getattr(self, f"lin{i}")
            total = total + ((a - b).float().pow(2) * weight[None, :, None, None]).sum(1).mean((1, 2))
        return total


def unit_features(maps: Tensor) -> Tensor:
    """(B, C, H, W) → the same with the C features of every place of length 1, or 0 where all of them are."""
    return maps / (maps.pow(2).sum(1, keepdim=True) + _EPSILON).sqrt()
