"""What training minimises has a gradient everywhere."""

from __future__ import annotations

from pathlib import Path

import torch

from udh_core.models.lpips import Lpips, unit_features


def test_features_have_a_gradient_where_none_answers() -> None:
    maps = torch.zeros(2, 8, 4, 4)
    maps[0] = torch.rand(8, 4, 4, generator=torch.Generator().manual_seed(0))
    maps.requires_grad_()
    unit = unit_features(maps)
    unit.sum().backward()
    assert torch.isfinite(maps.grad).all()
    torch.testing.assert_close(unit.norm(dim=1), torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]))


def test_lpips_is_nothing_for_the_same_image_and_grows_with_noise(models: Path) -> None:
    lpips, random = Lpips(models), torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 64, 64, generator=random)
    noise = torch.randn(1, 3, 64, 64, generator=random)
    none, little, much = (float(lpips(image + size * noise, image)) for size in (0.0, 0.02, 0.2))
    assert none == 0.0
    assert 0.0 < little < 0.1 * much
