"""What tests of networks that the mesh guides share: pictures, shapes, and references that do not move."""

from __future__ import annotations

import torch
from torch import Tensor

from udh_core.face import crop
from udh_core.face.crop import CropSpec
from udh_core.models.guided_warp import GuidedWarpNet

SIZE = 96
SPEC = CropSpec(SIZE)
INSIDE = torch.from_numpy(crop.mask(SPEC) == 1)
HIDDEN = torch.from_numpy(crop.hidden(SPEC).copy())


def fill(warp: GuidedWarpNet, apart: float) -> None:
    """Smooth pictures for references, of which number k has k · apart as its first number; nothing moves yet."""
    count = len(warp.references)
    smooth = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    enlarged = torch.nn.functional.interpolate(smooth, size=SIZE, mode="bicubic").clamp(0, 1)
    warp.references.copy_((enlarged * 255).round())
    warp.reference_description[:, 0] = apart * torch.arange(count)
    warp.metric[0, 0] = 1.0


def shapes(*first: float) -> Tensor:
    """(n, 3, 12) with these first numbers of the middle frame."""
    made = torch.zeros(len(first), 3, 12)
    made[:, 1, 0] = torch.tensor(first)
    return made


def crops(count: int) -> Tensor:
    """(count, 3, SIZE, SIZE) of noise."""
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
