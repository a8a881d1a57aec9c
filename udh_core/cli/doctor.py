"""The command `udh doctor`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.text import Text

from .console import console, on_one_line

STYLES = {"ok": "green", "note": "yellow", "lacks": "red"}


def doctor_command() -> None:
    from ..doctor.examine import examine

    lacking = 0
    for check in examine(Path()):
        lacking += check.level == "lacks"
        level = (f"{check.level:6}", STYLES[check.level])
        console.print(Text.assemble(level, on_one_line(f"{check.name}: {check.found}")), soft_wrap=True)
        if check.remedy:
            console.print(f"      → {on_one_line(check.remedy)}", soft_wrap=True)
    if lacking:
        console.print(f"{lacking} of the things that are needed lack; the arrows say what to do")
        raise typer.Exit(1)
    console.print("everything that is needed is there")
