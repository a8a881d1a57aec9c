"""The command `udh export`: a generator for other programs, or a person as one file; and opening such a file again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import OptionError
from .console import console, show


def export_command(
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    onnx: Annotated[Path | None, typer.Option(help="Write both networks as ONNX into this folder.")] = None,
    to_go: Annotated[
        Path | None, typer.Option(help="Write avatar and generator into this one file (.safetensors).")
    ] = None,
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar; for --to-go.")] = None,
    start: Annotated[float, typer.Option(help="--to-go: where in the clip to begin, s.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="--to-go: seconds of the clip to take; 20 without it.")] = None,
) -> None:
    if (onnx is None) == (to_go is None) or (to_go is None) != (avatar is None):
        raise OptionError("give either --onnx, or --to-go with --avatar")
    if onnx is not None:
        _export_onnx(generator, onnx)
    if to_go is not None and avatar is not None:
        _export_to_go(avatar, generator, to_go, start, duration)


def _export_onnx(generator: Path, folder: Path) -> None:
    from ..export.onnx import export_onnx

    for written in export_onnx(generator, folder):
        console.print(f"{written.path} is ready, {written.size / 1e6:.1f} MB", soft_wrap=True)


def _export_to_go(avatar: Path, generator: Path, out: Path, start_s: float, duration_s: float | None) -> None:
    from ..avatar.folder import open_avatar
    from ..export.bundle import pack

    steps = pack(open_avatar(avatar, ("video", "track")), generator, out, start_s=start_s, duration_s=duration_s)
    show(steps, lambda p: ("export", p.done, p.total, ""))
    console.print(f"{out} is ready, {out.stat().st_size / 1e6:.1f} MB; use it with udh render --to-go", soft_wrap=True)
