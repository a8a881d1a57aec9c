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
    generator = Generator(GeneratorConfig.from_dict(info.config["model"]), info.crop)
    try:
        generator.load_state_dict({name: t if t.dtype == torch.uint8 else t.float() for name, t in tensors.items()})
    except RuntimeError as error:
        raise FormatError(f"{path}: its tensors do not fit its description; train again") from error
    generator.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return info, generator.eval()


def save_generator(path: Path, info: Checkpoint, generator: Generator) -> None:
    """Write a generator's checkpoint atomically."""
    checkpoint.save(Path(path), info, generator.state_dict())
