"""The commands `udh weights list` and `udh weights fetch`."""

from __future__ import annotations

import typer
from rich.table import Column, Table

from .console import console, show_lines

weights_app = typer.Typer(no_args_is_help=True, help="The weight files this program uses.")


@weights_app.command("list", help="Name, size, licence and source of every weight file.")
def weights_list() -> None:
    from ..weights.registry import WEIGHTS, models_dir

    wrapped = (Column(title, overflow="fold") for title in ("licence", "source", "here"))
    table = Table(Column("file", no_wrap=True), Column("MB", no_wrap=True), *wrapped)
    for weight in WEIGHTS.values():
        here = (models_dir() / weight.name).is_file()
        table.add_row(weight.name, f"{weight.size / 1e6:.1f}", weight.licence, weight.source, "yes" if here else "no")
    console.print(table)
    console.print(f"folder: {models_dir()}", soft_wrap=True)


@weights_app.command("fetch", help="Fetch and verify what is missing.")
def weights_fetch() -> None:
    from ..weights.registry import fetch_weights

    for _ in show_lines(f"{step.stage}: {step.detail}" for step in fetch_weights()):
        pass
