"""Drawings of an evaluation: mouth openings over time, SyncNet distances over the offset, contact sheet."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from ..inference.sync_scorer import OFFSETS
from .result import GENERATED, OTHER, OTHER_PASTED, PASTED, REAL, VOICE, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_S = 12  # of the openings; more would run into one another
CURVES = (REAL, GENERATED, PASTED, OTHER, OTHER_PASTED, VOICE)


class Ink(NamedTuple):
    """Colours of a drawing on a transparent ground."""

    text: str
    grid: str
    lines: tuple[str, ...]


# The lines: Okabe and Ito's palette for colour-blind people (2008), darker or lighter for contrast with the ground.
LIGHT = Ink("#1d232b", "#d5dae1", ("#0072b2", "#d55e00", "#7a7f87", "#00795a", "#a8487f", "#8a6d00"))
DARK = Ink("#e6e9ee", "#3b434e", ("#56b4e9", "#ff9a4d", "#9aa2ad", "#2fc79b", "#e08dbb", "#f0e442"))


def svg(draw: Callable[[Axes, Ink], None], ink: Ink, size: tuple[float, float]) -> bytes:
    """A drawing of `size` inches as SVG with a transparent ground."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    draw(axes, ink)
    _tint(axes, ink)
    stream = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()


def _tint(axes: Axes, ink: Ink) -> None:
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=ink.text)
    axes.grid(color=ink.grid, lw=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(ink.grid)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(ink.text)
    legend = axes.get_legend()
    if legend is not None:
        legend.get_frame().set_alpha(0.0)
        for text in legend.get_texts():
            text.set_color(ink.text)


def draw_openings(axes: Axes, ink: Ink, evaluation: Evaluation) -> None:
    """The real mouth and the one driven by the same audio, over time; gaps where frames are left out."""
    shown = evaluation.frames < evaluation.frames[0] + SHOWN_S * evaluation.fps
    frames = evaluation.frames[shown]
    seconds = np.arange(frames[0], frames[-1] + 1) / evaluation.fps
    for name, colour, width in ((REAL, ink.lines[0], 2.2), (GENERATED, ink.lines[1], 1.4)):
        line = np.full(len(seconds), np.nan)
        line[frames - frames[0]] = evaluation.openings[name][shown]
        axes.plot(seconds, line, color=colour, lw=width, label=name)
    axes.set_xlabel("seconds of the clip")
    axes.set_ylabel("mouth opening\n(eye distances)")
    axes.set_xlim(seconds[0], seconds[-1])
    axes.legend(loc="upper right", ncols=2, fontsize=9)


def draw_offsets(axes: Axes, ink: Ink, evaluation: Evaluation, beside: bool = True) -> None:
    """The SyncNet's mean distance of mouth and audio over the A/V offset, one curve per row.

    `beside`: the names stand beside the plot; else there are few of them, in the corner that the dip leaves free.
    """
    names = [name for name in (CURVES if beside else CURVES[:3]) if name in evaluation.sync]
    for name in names:
        style = {REAL: "-", GENERATED: "-"}.get(name, "--")
        draw_curve(axes, ink, evaluation.sync[name].curve, name, ink.lines[CURVES.index(name)], style)
    if beside:
        axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        axes.legend(fontsize=7, loc="lower left")


def draw_curve(
    axes: Axes, ink: Ink, curve: np.ndarray | Sequence[float], label: str, colour: str = "", style: str = "-"
) -> None:
    """One curve of distances over OFFSETS (31,)."""
    axes.plot(OFFSETS, curve, style, color=colour or ink.lines[0], lw=1.8, label=label)
    axes.axvline(0, color=ink.text, lw=0.8)
    axes.set_xlabel("audio shifted by frames")
    axes.set_ylabel("mean distance")


def contact_sheet(pictures: np.ndarray, width: int = 192) -> list[np.ndarray]:
    """pictures (k, 2, S, S, 3) uint8 → k pictures (2 · width, width, 3) uint8, the real one above the generated."""
    stacked = pictures.reshape(len(pictures), -1, *pictures.shape[3:])
    size = min(width, pictures.shape[3])
    return [cv2.resize(pair, (size, 2 * size), interpolation=cv2.INTER_AREA) for pair in stacked]
