"""Evaluations and trainings drawn as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..inference.sync_scorer import OFFSETS
from ..media.raster import figure_to_rgb
from ..training.loop import StepReport
from .figures import cell
from .plots import LIGHT, draw_curve, draw_offsets, draw_openings
from .result import Evaluation
from .verdict import INKS, summary, verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

PHASES = {  # title and losses of what is plotted
    "motion": ("motion: audio → mouth shape", ("motion",)),
    "warp": ("warp: mouth shape → picture", ("l1", "lpips")),
    "syncnet": ("SyncNet: contrastive loss", ("loss",)),
}
TABLE_BOX = (0.25, 0.0, 0.75, 1.0)  # of its axes; the rows' names stand to the left
HEADINGS = {
    "opening_correlation": "mouth opening\ncorrelation",
    "opening_std_ratio": "amplitude\n(1 = real)",
    "psnr_db": "PSNR in mask\ndB",
    "lpips": "LPIPS\n(0 = equal)",
    "sharpness_ratio": "sharpness\n(1 = real)",
}


def draw_evaluation(title: str, evaluation: Evaluation) -> np.ndarray:
    """(H, W, 3) uint8: verdicts, openings over time, SyncNet distances, figures and a contact sheet on one page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 13), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=15)
    grid = figure.add_gridspec(4, 2, height_ratios=(0.9, 1, 1.15, 1.25), width_ratios=(1.25, 1))
    openings = figure.add_subplot(grid[0, :])
    openings.set_title("mouth opening over time, held-out part", fontsize=10)
    draw_openings(openings, LIGHT, evaluation)
    _draw_offsets(figure.add_subplot(grid[1, 1]), evaluation)
    _draw_verdicts(figure.add_subplot(grid[1, 0]), evaluation)
    _draw_table(figure.add_subplot(grid[2, :]), evaluation)
    _draw_pictures(figure.add_subplot(grid[3, :]), evaluation.pictures())
    return figure_to_rgb(figure)


def _draw_verdicts(axes: Axes, evaluation: Evaluation) -> None:
    axes.set_axis_off()
    found = verdicts(evaluation)
    axes.set_title(summary(found), fontsize=10)
    for row, verdict in enumerate(found):
        text = textwrap.shorten(verdict.line(), 130, placeholder=" …")
        axes.text(0, 1 - (row + 0.5) / len(found), text, fontsize=8, va="center", color=INKS[verdict.grade])


def draw_training(steps: Sequence[StepReport]) -> np.ndarray:
    """(H, W, 3) uint8: the losses of every phase that was trained, side by side; of a SyncNet, its accuracy."""
    from matplotlib.figure import Figure

    phases = list(dict.fromkeys(report.stage for report in steps if report.losses)) or ["warp"]
    validated = [report.metrics for report in steps if "distance_0" in report.metrics]
    panels = len(phases) + bool(validated)
    figure = Figure(figsize=(6 * panels, 4), dpi=100, layout="constrained")
    every = figure.subplots(1, panels, squeeze=False)[0]
    for axes, phase in zip(every, phases, strict=False):
        title, names = PHASES[phase]
        _draw_losses(axes, steps, phase, names, title)
    if validated:
        best = max(validated, key=lambda figures: figures["auc"])
        every[-1].set_title("distance of real mouths and their audio, held-out part", fontsize=10)
        draw_curve(every[-1], LIGHT, [best[f"distance_{offset}"] for offset in OFFSETS], f"AUC {best['auc']:.2f}")
        every[-1].legend(fontsize=8)
    return figure_to_rgb(figure)


def _draw_losses(axes: Axes, steps: Sequence[StepReport], phase: str, names: Sequence[str], title: str) -> None:
    own = [report for report in steps if report.stage == phase]
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("steps")
    if not own:
        axes.text(0.5, 0.5, "not trained in this run", ha="center", transform=axes.transAxes)
        return
    for name in names:
        values = np.array([report.losses.get(name, np.nan) for report in own])
        width = max(1, len(values) // 60)
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(np.arange(len(smooth)) + width, smooth, label=name)
    for name in sorted({key for report in own for key in report.metrics if key.startswith(("held_out", "left_out"))}):
        points = [(k, report.metrics[name]) for k, report in enumerate(own, 1) if name in report.metrics]
        axes.plot(*zip(*points, strict=True), "o-", ms=3, label=name.replace("_", " "))
    axes.set_yscale("log")
    handles = axes.get_lines() + _draw_accuracy(axes, own)
    axes.legend(handles, [str(line.get_label()) for line in handles], fontsize=8)


def _draw_accuracy(axes: Axes, own: Sequence[StepReport]) -> list[Line2D]:
    """Accuracy of a SyncNet on the held-out part, on an axis of its own, 0 to 1; nothing for other phases."""
    validated = [(k, report.metrics) for k, report in enumerate(own, 1) if "auc" in report.metrics]
    if not validated:
        return []
    right = axes.twinx()
    right.set_ylim(0, 1)
    lines = []
    for name, label, colour in (("auc", "AUC", "C1"), ("within1_10", "offset within ±1 frame", "C2")):
        values = [figures[name] for _, figures in validated]
        lines += right.plot([k for k, _ in validated], values, "o-", ms=3, color=colour, label=label)
    return lines


def _draw_offsets(axes: Axes, evaluation: Evaluation) -> None:
    axes.set_title("SyncNet: distance over A/V offset, held-out part", fontsize=10)
    if evaluation.sync:
        draw_offsets(axes, LIGHT, evaluation, beside=False)
    else:
        axes.text(0.5, 0.5, "no SyncNet given", ha="center", transform=axes.transAxes)


def _draw_table(axes: Axes, evaluation: Evaluation) -> None:
    axes.set_axis_off()
    axes.set_title(f"{len(evaluation.frames)} held-out frames", fontsize=10)
    cells = [[cell(name, figures.get(name)) for name in HEADINGS] for figures in evaluation.rows.values()]
    from matplotlib.transforms import Bbox

    table = axes.table(
        cells, rowLabels=list(evaluation.rows), colLabels=list(HEADINGS.values()), bbox=Bbox.from_bounds(*TABLE_BOX)
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, _), one in table.get_celld().items():
        one.set_height((1.6 if row == 0 else 1.0) * one.get_height())  # the headings have two lines


def _draw_pictures(axes: Axes, pictures: np.ndarray) -> None:
    """pictures (k, 2, S, S, 3) uint8."""
    sheet = np.concatenate([np.concatenate(list(pair), axis=0) for pair in pictures], axis=1)
    axes.imshow(sheet, interpolation="antialiased")
    size = pictures.shape[2]
    axes.set_yticks([size / 2, size * 1.5], ["original", "generated"], rotation=90, va="center", fontsize=11)
    axes.set_xticks([])
    axes.set_title("held-out frames, mouths driven by their audio alone", fontsize=10)
