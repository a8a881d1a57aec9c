"""The picture of an audit: the worst places, every check along the clip's time, the loudness, and the words."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..avatar.folder import Avatar
from ..files import atomic_write
from ..media.audio import SAMPLE_RATE_HZ, load_waveform
from ..media.raster import encode_picture, figure_to_rgb
from ..media.video import read_frames
from ..speech.activity import levels_db
from .finding import Audit, Finding, Level, examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Level, str] = {"green": "#2e9e4f", "yellow": "#e0a100", "red": "#d03030"}
PICTURES, PICTURE_PX, GAP_PX = 6, 240, 12  # frames, their height, and what is between them
CURVE_POINTS = 1500  # of the loudness
LINE_CHARACTERS = 135


def draw_audit(avatar: Avatar, audit: Audit) -> np.ndarray:
    """(H, W, 3) uint8."""
    from matplotlib.figure import Figure

    words = [line for finding in audit.sorted() if finding.level != "green" for line in _wrapped(finding)]
    heights = (2.6, 0.24 * len(audit.findings) + 0.3, 1.3, 0.19 * max(len(words), 1) + 0.1)
    figure = Figure(figsize=(13, sum(heights) + 1.2), dpi=100, layout="constrained")
    pictures, timeline, loudness, text = figure.subplots(4, 1, height_ratios=heights)
    _draw_pictures(pictures, avatar, audit)
    _draw_timeline(timeline, audit, avatar.info.duration_s)
    _draw_loudness(loudness, avatar, audit)
    text.set_axis_off()
    text.text(0, 1, "\n".join(words) or "nothing to complain about", va="top", fontsize=9, family="monospace")
    return figure_to_rgb(figure)


def write_picture(path: Path, avatar: Avatar, audit: Audit) -> None:
    """Write what `draw_audit` draws as a PNG."""
    picture = draw_audit(avatar, audit)
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_picture(picture))


def _wrapped(finding: Finding) -> list[str]:
    return textwrap.wrap(f"{finding.level.upper():6} {finding.name}: {finding.sentence}", LINE_CHARACTERS)


def _draw_pictures(axes: Axes, avatar: Avatar, audit: Audit) -> None:
    """Frames that show the faults, then frames from all over the clip."""
    places = [(finding.name, COLOURS[finding.level], at_s) for finding, at_s in examples(audit.sorted())][:PICTURES]
    spread_s = np.linspace(0, avatar.info.duration_s, PICTURES - len(places) + 2)[1:-1]
    axes.set_axis_off()
    left = 0.0
    for name, colour, at_s in [*places, *(("", "grey", float(time_s)) for time_s in spread_s)]:
        number = min(int(at_s * avatar.info.fps), avatar.info.frame_count - 1)
        frame = next(iter(read_frames(avatar.video, start=number, count=1)))
        width = round(frame.shape[1] * PICTURE_PX / frame.shape[0])
        small = cv2.resize(frame, (width, PICTURE_PX), interpolation=cv2.INTER_AREA)
        axes.imshow(small, extent=(left, left + width, PICTURE_PX, 0))
        axes.text(left + width / 2, -8, f"{name} {at_s:.1f} s".strip(), color=colour, ha="center", fontsize=10)
        left += width + GAP_PX
    axes.set_xlim(0, left - GAP_PX)
    axes.set_ylim(PICTURE_PX, -30)


def _draw_timeline(axes: Axes, audit: Audit, duration_s: float) -> None:
    for row, finding in enumerate(audit.findings):
        colour = COLOURS[finding.level]
        whole = [(0.0, duration_s)]
        axes.broken_barh(whole, (row - 0.4, 0.8), color=colour, alpha=0.15 if finding.ranges_s else 0.45, lw=0)
        bars = [(start, max(stop - start, duration_s / 400)) for start, stop in finding.ranges_s]
        axes.broken_barh(bars, (row - 0.4, 0.8), color=colour if finding.level != "green" else "grey", lw=0)
    axes.set_yticks(range(len(audit.findings)), [finding.name for finding in audit.findings], fontsize=9)
    for label, finding in zip(axes.get_yticklabels(), audit.findings, strict=True):
        label.set_color(COLOURS[finding.level])
    axes.set_ylim(len(audit.findings) - 0.4, -0.6)
    axes.set_xlim(0, duration_s)


def _draw_loudness(axes: Axes, avatar: Avatar, audit: Audit) -> None:
    waveform, duration_s = load_waveform(avatar.audio), avatar.info.duration_s
    level = levels_db(waveform)
    step = max(1, len(level) // CURVE_POINTS)
    level = level[: len(level) // step * step].reshape(-1, step).max(1)
    times_s = (np.arange(len(level)) + 0.5) * len(waveform) / len(level) / SAMPLE_RATE_HZ
    axes.plot(times_s, level, lw=0.8, color="black")
    for start_s, end_s in audit.speech_s:
        axes.axvspan(start_s, end_s, color="C0", alpha=0.15, lw=0)
    axes.set_ylabel("loudness, dB\n(blue: speech)", fontsize=9)
    axes.set_xlim(0, duration_s)
    axes.set_xlabel("seconds")
