"""Figures on the terminal: the evaluation as tables with its verdicts, and the accuracy of a SyncNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .figures import ARROWS, GROUPS, Group, cell, columns, figure_names, meaning
from .result import Evaluation
from .verdict import TERMINAL_INKS, verdicts

SYNCNET_FIGURES = {  # name in the checkpoint → words and what chance gives
    "auc": ("AUC, in-sync against off-sync", "0.50"),
    "within1_1": ("offset within ±1 frame, one window", "0.10"),
    "within1_10": ("offset within ±1 frame, ten windows averaged", "0.10"),
    "exact_10": ("offset exact, ten windows averaged", "0.03"),
    "offset": ("offset over all windows, frames", ""),
    "lse_c": ("LSE-C (this SyncNet's own measure)", ""),
    "lse_d": ("LSE-D (likewise)", ""),
    "windows": ("windows with speech", ""),
}


def evaluation_tables(evaluation: Evaluation) -> Iterator[RenderableType]:
    """A table per group of rows, one line per figure, then the verdicts."""
    for group in GROUPS:
        yield _group_table(group, evaluation)
    for verdict in verdicts(evaluation):
        yield Text(verdict.line(), style=TERMINAL_INKS[verdict.grade])


def _group_table(group: Group, evaluation: Evaluation) -> Table:
    """At most 80 columns wide."""
    shown = columns(group, evaluation)
    title = f"{group.title}, {len(evaluation.frames)} held-out frames"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("figure", no_wrap=True)
    for column in shown:
        part = f"\n({column.part})" if column.part else ""
        table.add_column(f"{column.heading}{part}", justify="right", width=9)
    for name in figure_names(group, evaluation):
        what = meaning(name)
        cells = [cell(name, evaluation.rows[column.row].get(name)) for column in shown]
        table.add_row(f"{what.name} {ARROWS[what.better]}", *cells)
    return table


def syncnet_table(metrics: Mapping[str, float]) -> Table:
    """Metrics of a SyncNet on the held-out part, by their names in its checkpoint."""
    table = Table("SyncNet, on held-out windows with speech", "reached", "chance", box=box.SIMPLE_HEAD)
    for name, (words, chance) in SYNCNET_FIGURES.items():
        if name in metrics:
            decimals = 0 if name in ("windows", "offset") else 2
            table.add_row(words, f"{metrics[name]:.{decimals}f}", chance)
    return table
