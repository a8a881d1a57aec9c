"""What training minimises has a gradient everywhere."""

from __future__ import annotations

from pathlib import Path

import torch

from udh_core.losses import Lpips


def test_lpips_has_a_gradient_where_no_feature_answers(models: Path) -> None:
    lpips = Lpips(models)
    lpips.convs[0].bias.fill_(-1e4)  # every feature of the first map is 0
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lpips(images, torch.zeros(2, 3, 64, 64)).sum().backward()
    assert torch.isfinite(images.grad).all()


def test_lpips_is_nothing_for_the_same_image_and_grows_with_noise(models: Path) -> None:
    lpips, random = Lpips(models), torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 64, 64, generator=random)
    noise = torch.randn(1, 3, 64, 64, generator=random)
    none, little, much = (float(lpips(image + size * noise, image)) for size in (0.0, 0.02, 0.2))
    assert none == 0.0
    assert 0.0 < little < 0.1 * much
