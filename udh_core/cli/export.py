"""The command `udh export`: a generator for other programs, or a person as one file; and opening such a file again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import OptionError
from .console import console, run


def export_command(
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    onnx: Annotated[Path | None, typer.Option(help="Write both networks as ONNX into this folder.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write avatar and generator into one file, a bundle (.safetensors).")
    ] = None,
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar; for --bundle.")] = None,
    start: Annotated[float, typer.Option(help="--bundle: where in the clip to begin, s.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="--bundle: seconds of the clip; 20 without it.")] = None,
) -> None:
    if (onnx is None) == (bundle is None) or (bundle is None) != (avatar is None):
        raise OptionError("give either --onnx, or --bundle with --avatar")
    if onnx is not None:
        _export_onnx(generator, onnx)
    if bundle is not None and avatar is not None:
        _bundle(avatar, generator, bundle, start, duration)


def _export_onnx(generator: Path, folder: Path) -> None:
    from ..export.onnx import export_onnx

    for path in run(export_onnx(generator, folder)):
        _ready(path)


def _bundle(avatar: Path, generator: Path, out: Path, start_s: float, duration_s: float | None) -> None:
    from ..avatar.folder import open_avatar
    from ..export.bundle import export_bundle

    opened = open_avatar(avatar, ("video", "track"))
    _ready(run(export_bundle(opened, generator, out, start_s=start_s, duration_s=duration_s), "export: "))
    console.print("use it with udh render --bundle")


def _ready(path: Path) -> None:
    console.print(f"{path} is ready, {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)
