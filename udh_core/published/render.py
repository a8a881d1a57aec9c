"""Rendering with an imported model of the published system onto its own data folder, in constant memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import FileError, MismatchError, OptionError
from ..files import check_writable
from ..media.audio import SAMPLE_RATE_HZ, load_waveform
from ..media.video import VideoWriter
from ..prefetch import prefetch
from ..rendering.playback import Stretch, stretches
from ..rendering.render import Progress
from .dataset import PublishedDataset
from .model import PublishedPainter, open_published

MAX_DRIFT_S = 0.5  # by which features and sound may differ in length


def render_published(
    dataset: PublishedDataset,
    model: Path,
    out: Path,
    *,
    audio: Path | None = None,
    driving: np.ndarray | None = None,
    batch: int = 4,
    device: str = "cpu",
) -> Iterator[Progress]:
    """Make the person of a data folder say `audio`; `out` (mp4) appears when it is complete, and not before.

    `driving`: features of that audio, (n, 2, 1024) or (n, 16, 512); one frame is drawn per row. Without both, the
    folder's own sound and features drive it. Raises MediaError, FileError, FormatError or MismatchError.
    """
    network = open_published(model, device)[1]
    if (audio is None) != (driving is None):
        raise OptionError("give the sound and its features together, or neither for the data folder's own")
    sound = audio or dataset.audio
    rows = dataset.features(network.variant) if driving is None else driving
    duration_s, fps = len(load_waveform(sound)) / SAMPLE_RATE_HZ, dataset.info(network.variant).fps
    if abs(len(rows) / fps - duration_s) > MAX_DRIFT_S:
        raise MismatchError(
            f"the features last {float(len(rows) / fps):.1f} s, {sound} {duration_s:.1f} s; extract them again"
        )
    _check_output(out, dataset, model, sound)
    yield from _render_frames(dataset, PublishedPainter(network), rows, sound, out, batch)


def _check_output(out: Path, dataset: PublishedDataset, model: Path, audio: Path) -> None:
    if out.suffix.lower() != ".mp4":
        raise FileError(f"{out}: the output is an mp4; give a name that ends in .mp4")
    place = out.resolve()
    if place in (model.resolve(), audio.resolve()) or place.is_relative_to(dataset.root.resolve()):
        raise FileError(f"{out} is what the video is made of, or lies in the data folder; give another name")
    check_writable(out)


def _render_frames(
    dataset: PublishedDataset, painter: PublishedPainter, rows: np.ndarray, audio: Path, out: Path, batch: int
) -> Iterator[Progress]:
    info, begun = dataset.info(painter.network.variant), time.monotonic()
    size = (info.width, info.height)
    with (
        VideoWriter(out, width=size[0], height=size[1], fps=info.fps, audio=audio) as writer,
        closing(prefetch(_painted(dataset, painter, rows, batch), 8)) as painted,
    ):
        for done, frame in enumerate(painted, 1):
            writer.write(frame)
            yield Progress("frames", done, len(rows), done / (time.monotonic() - begun))


def _painted(
    dataset: PublishedDataset, painter: PublishedPainter, rows: np.ndarray, batch: int
) -> Iterator[np.ndarray]:
    order, done = _order(len(dataset.squares), len(rows)), 0
    while numbers := list(islice(order, batch)):
        frames = [dataset.frame(number) for number in numbers]
        moments = np.arange(done, done + len(numbers))
        yield from painter.paint(frames, [dataset.squares[k] for k in numbers], rows, moments)
        done += len(numbers)


def _order(available: int, wanted: int) -> Iterator[int]:
    """Numbers of the frames on show: forwards, backwards, and so on, as published."""
    for stretch in stretches(available, wanted, "bounce"):
        yield from _numbers(stretch)


def _numbers(stretch: Stretch) -> range:
    numbers = range(stretch.start, stretch.start + stretch.frames)
    return numbers[::-1] if stretch.backwards else numbers
