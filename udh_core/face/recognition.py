"""dlib's face recognition network: a 29-layer ResNet whose 128 numbers lie close together for one person's faces.

Source: Davis King, dnn_face_recognition_ex.cpp; the weights are in the public domain. dlib's scales and shifts per
channel are part of the convolutions here, see `weights.dlib`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..weights.dlib import EMBEDDING, WIDTHS

CHIP_PX = 150  # side of the square it takes
_MEAN = (122.782, 117.001, 104.298)  # RGB, of the faces it was trained on
_STEM_SIDE, _SIDE = 7, 3  # of the kernels, px


class FaceRecognition(nn.Module):
    """Aligned faces → embeddings. Two of one person are mostly less than 0.6 apart, those of two people more."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN)[None, :, None, None], persistent=False)
        before = 3
        for n, width in enumerate(WIDTHS):
            self.add_module(f"conv{n}", _convolution(n, before, width))
            before = width
        self.embedding = nn.Linear(before, EMBEDDING, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 150, 150) float32 RGB 0..255 → (B, 128)."""
        x = F.relu(self.get_submodule("conv0")((chips - self.mean) / 256))
        x = F.max_pool2d(x, 3, 2)
        for first in range(1, len(WIDTHS), 2):
            y = F.relu(self.get_submodule(f"conv{first}")(x))
            y = self.get_submodule(f"conv{first + 1}")(y)
            x = F.relu(_sum(F.avg_pool2d(x, 2) if _shrinks(first) else x, y))
        return self.embedding(x.mean((2, 3)))


def _shrinks(n: int) -> bool:
    """Whether convolution n is the first of a residual block of half the size: where the width grows, and the last."""
    return n % 2 == 1 and (WIDTHS[n] != WIDTHS[n - 1] or n == len(WIDTHS) - 2)


def _convolution(n: int, before: int, width: int) -> nn.Conv2d:
    if n == 0:
        return nn.Conv2d(before, width, _STEM_SIDE, stride=2)
    return nn.Conv2d(before, width, _SIDE, stride=2) if _shrinks(n) else nn.Conv2d(before, width, _SIDE, padding=1)


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """a + b (B, C, H, W), zeros where one is smaller than the other, as dlib's add_prev takes them."""
    channels, height, width = (max(a.shape[k], b.shape[k]) for k in (1, 2, 3))

    def grown(x: Tensor) -> Tensor:
        return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))

    return grown(a) + grown(b)
