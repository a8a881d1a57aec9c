"""Evaluation of a generator on the held-out part of its clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..avatar.dataset import load_training_data
from ..avatar.folder import Avatar
from ..inference.sync_scorer import SyncScorer
from ..models import checkpoint
from ..models.checkpoint import held_out_share, open_generator
from .bench import MAX_FRAMES, Bench, _Listener
from .result import Evaluation, Progress, Row


def evaluate(
    avatar: Avatar,
    generator: Path,
    *,
    syncnet: SyncScorer | None = None,
    voice: Path | None = None,
    words: Path | None = None,
    models: Path | None = None,
    device: str = "cpu",
    max_frames: int = MAX_FRAMES,
) -> Iterator[Progress | Evaluation]:
    """Judge a generator on frames it has not seen; the last item is the Evaluation.

    Reconstruction: driven by the own sound, by the true shape (the ceiling of the warp network), a frame of another
    time pasted in (the floor), the real frames. Cross-driving: another passage of the clip, that passage's own mouths
    pasted in (the ceiling), the source unchanged (the floor); `voice`, the speech of somebody else; silence.
    `words`: a table of tab-separated start_s, end_s and word, for the closure of the lips on p, b and m.
    """
    info, network = open_generator(generator, device)
    checkpoint.check_match(info, avatar=avatar.identity, crop=avatar.crop)
    if syncnet is not None:
        checkpoint.check_match(syncnet.info, encoder=info.encoder)
    data = load_training_data(avatar, info.encoder, held_out_share(generator, info), models=models)
    bench = Bench(data, network, syncnet, models, max_frames, words)
    driven = bench.drives(_Listener(info.encoder, device, models), voice)
    rows: dict[str, Row] = {}
    for name, (steered, follows, heard) in driven.items():
        parts = []
        for part in bench.redraw(steered):
            parts.append(part)
            yield Progress(name, sum(map(len, parts)), len(bench.frames))
        rows[name] = Row(np.concatenate(parts), follows, heard)
    rows |= bench.yardsticks()
    for done, (name, row) in enumerate(rows.items(), 1):
        bench.measure(name, row)
        yield Progress("measure", done, len(rows))
    yield bench.finish(rows)
