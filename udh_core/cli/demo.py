"""The command `udh demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..demo.options import DemoOptions
from .console import console, run, show_lines
from .options import Device, quoted


def demo_command(
    video: Annotated[Path | None, quoted(DemoOptions, "video")] = DemoOptions.video,
    audio: Annotated[Path | None, quoted(DemoOptions, "audio")] = DemoOptions.audio,
    minutes: Annotated[float, quoted(DemoOptions, "minutes")] = DemoOptions.minutes,
    crop_px: Annotated[int | None, quoted(DemoOptions, "crop_px")] = DemoOptions.crop_px,
    folder: Annotated[Path, quoted(DemoOptions, "folder")] = DemoOptions.folder,
    seed: Annotated[int, quoted(DemoOptions, "seed")] = DemoOptions.seed,
    device: Device = "cpu",
) -> None:
    from ..demo.run import run_demo
    from ..weights.registry import fetch_weights
    from .report import print_evaluation

    for _ in show_lines(f"{step.stage}: {step.detail}" for step in fetch_weights()):
        pass
    options = DemoOptions(folder, video, audio, minutes, crop_px=crop_px, seed=seed)
    result = run(run_demo(options, device=device))
    print_evaluation(result.evaluation)
    console.print(f"talking video: {result.video.resolve()}\nreport:        {result.page.resolve()}", soft_wrap=True)
