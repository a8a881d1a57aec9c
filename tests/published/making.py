"""The published network with random weights, and files in its forms."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.published.rules import Square
from udh_core.published.unet import PublishedUNet

FRAMES = 6
EXAMPLES = {"hubert": (16, 32, 32), "wenet": (128, 16, 32)}
both = pytest.mark.parametrize("variant", EXAMPLES)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "unpickled")


@cache
def network(variant: str = "hubert") -> PublishedUNet:
    """A network whose batch norms have seen something: without that, audio hardly reaches the picture."""
    torch.manual_seed(0)
    made = PublishedUNet(variant)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        made(*example(variant, 2))
    return made.eval()


def example(variant: str = "hubert", batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(batch, 6, 160, 160), torch.randn(batch, *EXAMPLES[variant])


def lms(place: Square) -> str:
    points = np.full((110, 2), 5, int)
    points[1], points[31], points[52] = (place.x, 9), (place.x + place.side, 9), (7, place.y)
    return "".join(f"{x} {y}\n" for x, y in points)
