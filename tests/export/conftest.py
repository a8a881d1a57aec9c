"""A generator in which no zero hides what an export carries."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from udh_core.models.checkpoint import open_generator, save_generator


@pytest.fixture(scope="package")
def shaken(generator_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in person's generator with random weights everywhere, so that no zero hides what a path carries."""
    info, network = open_generator(generator_file)
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    out = tmp_path_factory.mktemp("shaken") / "g.safetensors"
    save_generator(out, info, network)
    return out
