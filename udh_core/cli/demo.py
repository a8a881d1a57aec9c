"""The command `udh demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..demo.options import DemoOptions
from ..weights.registry import fetch
from .console import console, run, show_lines
from .options import Device


def demo_command(
    video: Annotated[Path | None, typer.Option(help="Your clip; without it a talking person is made.")] = None,
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    minutes: Annotated[float, typer.Option(help="How long the generator trains.")] = 5.0,
    size: Annotated[int | None, typer.Option(help="Crop size; 160 for the made person, 256 for your clip.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    from ..demo.run import run_demo
    from .report import print_evaluation

    for _ in show_lines(f"{step.stage}: {step.detail}" for step in fetch()):
        pass
    options = DemoOptions(folder, video, audio, minutes, crop_px=size, seed=seed)
    result = run(run_demo(options, device=device))
    print_evaluation(result.evaluation)
    console.print(f"talking video: {result.video.resolve()}\nreport:        {result.page.resolve()}", soft_wrap=True)
