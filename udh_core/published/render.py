"""Rendering with an imported model of the published system onto its own data folder, in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import MismatchError, OptionError
from ..files import output_lock
from ..media.audio import SAMPLE_RATE_HZ, load_waveform
from ..progress import Progress, job
from ..rendering.output import check_output, write_video
from ..rendering.playback import stretches
from .dataset import PublishedDataset
from .model import PublishedCompositor, open_published

MAX_DRIFT_S = 0.5  # by which features and sound may differ in length


@job
def render_published(
    dataset: PublishedDataset,
    model: Path,
    out: Path,
    *,
    audio: Path | None = None,
    driving: np.ndarray | None = None,
    batch: int = 4,
    device: str = "cpu",
) -> Generator[Progress, None, Path]:
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
    check_output(out, (model, sound), dataset.root)
    drawn = _drawn(dataset, PublishedCompositor(network), rows, batch)
    with output_lock(out):
        yield from write_video(out, dataset.info(network.variant), drawn, len(rows), sound)
    return out


def _drawn(
    dataset: PublishedDataset, compositor: PublishedCompositor, rows: np.ndarray, batch: int
) -> Iterator[np.ndarray]:
    order, done = _order(len(dataset.squares), len(rows)), 0
    while numbers := list(islice(order, batch)):
        frames = [dataset.frame(number) for number in numbers]
        moments = np.arange(done, done + len(numbers))
        yield from compositor.composite(frames, [dataset.squares[k] for k in numbers], rows, moments)
        done += len(numbers)


def _order(available: int, wanted: int) -> Iterator[int]:
    """Numbers of the frames on show: forwards, backwards, and so on, as published."""
    for stretch in stretches(available, wanted, "bounce"):
        yield from stretch.numbers()
