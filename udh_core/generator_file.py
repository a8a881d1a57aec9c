"""A generator on disk: saving and opening its checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from . import checkpoint
from .checkpoint import Checkpoint
from .errors import FormatError
from .models.generator import Generator, GeneratorConfig


def open_generator(path: Path, device: str = "cpu") -> tuple[Checkpoint, Generator]:
    """The generator of a checkpoint, in eval mode on `device`; FormatError when the file is not one."""
    info, tensors = checkpoint.load(Path(path), "generator")
    floats = {name: t if t.dtype == torch.uint8 else t.float() for name, t in tensors.items()}
    generator = checkpoint.build(path, lambda: _as_described(info), floats)
    generator.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return info, generator.eval()


def _as_described(info: Checkpoint) -> Generator:
    """Without its tensors; ValueError when the description is none of this version."""
    config = GeneratorConfig.from_dict(info.config.get("model"))
    if config.pixels.size != info.crop.size:
        raise ValueError(f"it draws {config.pixels.size} px, its crop has {info.crop.size} px")
    return Generator(config, info.crop)


def held_out_share(path: Path, info: Checkpoint) -> float:
    """Which part of its clip a generator was not trained on; FormatError when its checkpoint does not say."""
    options = info.config.get("options")
    share = options.get("held_out") if isinstance(options, dict) else None
    if type(share) is not float or not 0 < share < 1:
        raise FormatError(f"{path} does not say which part of the clip it was not trained on; train again")
    return share


def save_generator(path: Path, info: Checkpoint, generator: Generator) -> None:
    """Write a generator's checkpoint atomically."""
    checkpoint.save(Path(path), info, generator.state_dict())
