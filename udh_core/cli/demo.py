"""The command `udh demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..weights.registry import fetch
from .console import console, show, show_lines
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
    from ..demo.run import DemoOptions, Result, Stage, run_demo
    from .report import print_evaluation

    for _ in show_lines(fetch()):
        pass
    crop_size = size or (160 if video is None else 256)
    options = DemoOptions(folder, video, audio, minutes, crop_size=crop_size, seed=seed)

    def describe(stage: Stage | Result) -> tuple[str, float, float, str]:
        if isinstance(stage, Result):
            return "report", 1, 1, ""
        return stage.name, stage.done, stage.total, stage.remark

    result = show(run_demo(options, device=device), describe)
    if not isinstance(result, Result):
        raise RuntimeError("the demo ended without a result")
    print_evaluation(result.evaluation)
    console.print(f"talking video: {result.video.resolve()}\nreport:        {result.page.resolve()}", soft_wrap=True)
