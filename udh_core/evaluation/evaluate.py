"""Evaluation of a generator on the held-out part of its clip."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ..avatar.dataset import load_training_data
from ..avatar.folder import Avatar
from ..inference.compositor import Compositor
from ..inference.sync_scorer import SyncScorer
from ..models import checkpoint
from ..models.checkpoint import held_out_share, open_generator
from ..models.generator import Generator as GeneratorNet
from ..models.generator import with_neighbours
from ..progress import Progress, job
from .bench import Bench, Measured, baselines, open_bench
from .drivers import DrivenRow, ShapePredictor, driven_rows
from .held_out import MAX_FRAMES, HeldOut, crop_jitter, hold_out
from .result import GENERATED, REAL, ROWS, Evaluation, Row

BATCH = 8  # crops drawn at a time


@job
def evaluate(
    avatar: Avatar,
    generator: str | Path,
    *,
    syncnet: SyncScorer | None = None,
    voice: Path | None = None,
    words: Path | None = None,
    models: Path | None = None,
    device: str = "cpu",
    max_frames: int = MAX_FRAMES,
) -> Generator[Progress, None, Evaluation]:
    """Measure a generator on frames that it was not trained on.

    Reconstruction: driven by the own audio, by the true mouth shapes (the ceiling of the warping network), a frame of
    another time pasted in (the floor), the real frames. Cross-driving: another passage of the clip, that passage's own
    mouths pasted in (the ceiling), the source unchanged (the floor); `voice`, the speech of somebody else; silence.
    `words`: a table of tab-separated start_s, end_s and word, for the closure of the lips on p, b and m.
    Raises FormatError, MismatchError, MediaError, and NoFaceError when too few frames are held out.
    """
    generator = Path(generator)
    info, network = open_generator(generator, device)
    checkpoint.check_match(info, avatar=avatar.identity, person=avatar.person, crop=avatar.crop)
    if syncnet is not None:
        checkpoint.check_match(syncnet.info, encoder=info.encoder)
    share = held_out_share(generator, info)
    held_out = hold_out(
        load_training_data(avatar.redrawn_in(info.crop), info.encoder, share, models=models), max_frames
    )
    bench = open_bench(held_out, scorer=syncnet, words=words, models=models)
    driven = driven_rows(held_out, ShapePredictor(network, info.encoder, device, models), voice)
    rows = yield from _draw_rows(bench, network, driven)
    rows |= baselines(bench)
    measured: dict[str, Measured] = {}
    for name in [name for name in ROWS if name in rows]:
        yield Progress("measure", len(measured), len(rows))
        measured[name] = bench.measure(rows[name], rows[GENERATED].mouths)
    yield Progress("measure", len(rows), len(rows))
    return _evaluation(held_out, rows, measured)


def _draw_rows(
    bench: Bench, network: GeneratorNet, driven: dict[str, DrivenRow]
) -> Generator[Progress, None, dict[str, Row]]:
    held_out = bench.held_out
    compositor = Compositor(network.warp, held_out.spec, held_out.transforms)
    rows = {}
    for name, (driver, shapes) in driven.items():
        parts: list[np.ndarray] = []
        for part in _draw(compositor, held_out, with_neighbours(shapes, network.config.warp.frames)):
            parts.append(part)
            yield Progress(f"draw: {name}", sum(map(len, parts)), len(held_out.frames))
        rows[name] = Row(bench.lips.detect(np.concatenate(parts)), driver)
    return rows


def _draw(compositor: Compositor, held_out: HeldOut, conditions: Tensor) -> Iterator[np.ndarray]:
    """Redrawn crops in batches (b, S, S, 3) uint8; conditions (m, frames, shape_width)."""
    compositor.rewind()
    for start in range(0, len(held_out.crops), BATCH):
        rows = slice(start, start + BATCH)
        crops, shapes = held_out.crops[rows], conditions[rows]
        yield compositor.generate(crops, shapes, compositor.choose(crops, shapes, held_out.frames[rows]))


def _evaluation(held_out: HeldOut, rows: dict[str, Row], measured: dict[str, Measured]) -> Evaluation:
    return Evaluation(
        rows={name: one.figures for name, one in measured.items()},
        sync={name: one.sync for name, one in measured.items() if one.sync is not None},
        clip={"crop_jitter": crop_jitter(held_out), "sound_shift": held_out.data.audio_offset},
        frames=held_out.frames,
        fps=held_out.fps,
        openings={name: rows[name].mouths.opening for name in measured},
        real=rows[REAL].mouths.crops,
        generated=rows[GENERATED].mouths.crops,
    )
