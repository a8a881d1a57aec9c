"""The picture of docs/benchmarks.md#other-voices, of its table: `python -m benchmarks.voices_plot`."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from benchmarks.pictures import OURS_INK, PUBLISHED_INK, save
from benchmarks.tables import RESULTS
from udh_core.evaluation.plots import LIGHT

GROUPS = {  # title → lines of the table whose mean is shown
    "own voice": "as it is",
    "… ±3 semitones": r"pitch and formants [+-]3 .*",
    "… ±5 semitones": r"pitch and formants [+-]5 .*",
    "… white noise, 10 dB below": "white noise, 10 .*",
    "… music, 10 dB below": "music, 10 .*",
    "… MP3, Opus": ".*bit/s",
    "its words, synthetic voices": "its words by synthetic voices, mean",
    "other people": "other people, mean.*",
    "other people, short clips": "people in short clips, mean.*",
    "shuffled sound (floor)": "shuffled.*",
}


def main() -> None:
    names, rows = read_table()
    columns = [k for k, name in enumerate(names) if name.endswith("with the prior")]
    figure = Figure(figsize=(7, 3.4), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    places, height = np.arange(len(GROUPS)), 0.8 / len(columns)
    for k, (column, ink) in enumerate(zip(columns, (OURS_INK, PUBLISHED_INK, LIGHT.lines[3]), strict=False)):
        values = [group_mean(rows, pattern, column) for pattern in GROUPS.values()]
        bars = axes.barh(places + (k - (len(columns) - 1) / 2) * height, values, height, color=ink)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
        bars.set_label(names[column].partition(",")[0])
    axes.set_yticks(places, list(GROUPS), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-0.2, 1)
    axes.set_xlabel("correlation of the mouth opening with the true one", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save("voices", figure)


def read_table() -> tuple[list[str], dict[str, list[float]]]:
    """Names of the columns, and by line the correlations."""
    text = (RESULTS / "voices.md").read_text(encoding="utf-8")
    head, _, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return head[1:], {name: [correlation(cell) for cell in cells] for name, *cells in lines}


def correlation(cell: str) -> float:
    """NaN where there is none."""
    found = re.match(r"(-?\d\.\d+) /", cell)
    return float(found[1]) if found else float("nan")


def group_mean(rows: dict[str, list[float]], pattern: str, column: int) -> float:
    return float(np.nanmean([cells[column] for name, cells in rows.items() if re.fullmatch(pattern, name)]))


if __name__ == "__main__":
    main()
