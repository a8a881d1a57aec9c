"""The one-page picture of a training run: losses, SyncNet, figures, and real beside generated mouths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .checkpoint import Checkpoint
from .evaluate import Evaluation
from .files import replacing
from .judge import OFFSETS
from .training import StepReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADINGS = {
    "opening_correlation": "mouth opening\ncorrelation",
    "opening_std_ratio": "amplitude\n(1 = real)",
    "psnr_db": "PSNR in mask\ndB",
    "lpips": "LPIPS\n(0 = equal)",
    "sharpness_ratio": "sharpness\n(1 = real)",
}


def write_report(
    path: Path, title: str, steps: Sequence[StepReport], evaluation: Evaluation, syncnet: Checkpoint | None
) -> None:
    """Draw the page as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 11), layout="constrained")
    figure.suptitle(title, fontsize=15)
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1, 1.25))
    _draw_losses(figure.add_subplot(grid[0, 0]), steps, "motion", ("motion",), "motion: audio → mouth shape")
    _draw_losses(figure.add_subplot(grid[0, 1]), steps, "pixels", ("l1", "lpips"), "pixels: mouth shape → picture")
    _draw_losses(figure.add_subplot(grid[0, 2]), steps, "syncnet", ("loss",), "SyncNet: contrastive loss")
    _draw_offsets(figure.add_subplot(grid[1, 0]), evaluation, syncnet)
    _draw_table(figure.add_subplot(grid[1, 1:]), evaluation)
    _draw_pictures(figure.add_subplot(grid[2, :]), evaluation.pictures)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw_losses(axes: Axes, steps: Sequence[StepReport], phase: str, names: Sequence[str], title: str) -> None:
    own = [report for report in steps if report.phase == phase]
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("updates")
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
    axes.legend(fontsize=8)


def _draw_offsets(axes: Axes, evaluation: Evaluation, syncnet: Checkpoint | None) -> None:
    axes.set_title("SyncNet: distance over A/V offset, held-out part", fontsize=10)
    axes.set_xlabel("sound shifted by frames")
    for name, report in (("real mouths", evaluation.real_sync), ("generated mouths", evaluation.generated_sync)):
        if report is not None:
            axes.plot(OFFSETS, report.curve, label=f"{name} (AUC {report.auc:.2f})")
    if syncnet is None:
        axes.text(0.5, 0.5, "no SyncNet given", ha="center", transform=axes.transAxes)
        return
    axes.axvline(0, color="grey", lw=0.5)
    axes.legend(fontsize=8)


def _draw_table(axes: Axes, evaluation: Evaluation) -> None:
    axes.set_axis_off()
    axes.set_title(f"{evaluation.frames} held-out frames", fontsize=10)
    cells = [[_cell(figures[name]) for name in HEADINGS] for figures in evaluation.rows.values()]
    table = axes.table(cells, rowLabels=list(evaluation.rows), colLabels=list(HEADINGS.values()), loc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(0.8, 1.7)


def _cell(value: float) -> str:
    return "equal" if value > 99 else f"{value:.1f}" if value > 10 else f"{value:.3f}"  # 99 dB: the very same picture


def _draw_pictures(axes: Axes, pictures: np.ndarray) -> None:
    """pictures (k, 2, S, S, 3) uint8."""
    sheet = np.concatenate([np.concatenate(list(pair), axis=0) for pair in pictures], axis=1)
    axes.imshow(sheet, interpolation="antialiased")
    size = pictures.shape[2]
    axes.set_yticks([size / 2, size * 1.5], ["original", "generated"], rotation=90, va="center", fontsize=11)
    axes.set_xticks([])
    axes.set_title("held-out frames, mouths driven by their sound alone", fontsize=10)
