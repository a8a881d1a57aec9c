"""Every check of an installation, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .check import Check
from .comfyui import comfyui
from .machine import device, disks, ffmpeg, weights
from .packages import optional_packages, packages, program, python


def examine(folder: Path, models: Path | None = None) -> Iterator[Check]:
    """Every check, in the order a new installation meets them.

    folder: where the user works. models: the folder of weight files (default: weights.models_dir()).
    """
    yield program()
    yield python()
    yield from packages()
    yield from optional_packages()
    yield device()
    yield from ffmpeg()
    yield from weights(models)
    yield from disks(folder, models)
    yield comfyui(folder)
