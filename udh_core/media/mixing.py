"""Several sounds at once, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..files import scratch_folder
from .audio import PLAIN_HZ, write_plain

BLOCK = 1 << 16  # samples at a time


@contextmanager
def mixed_sound(tracks: Sequence[tuple[Path, int]]) -> Iterator[Path]:
    """A wav file, while the block lasts: the sum of these sound tracks, (file, number), each from its beginning.

    It is stereo and as long as the longest. Where the sum is louder than full scale, all of it is made quieter, by one
    factor. Errors as in `audio.load_sound`.
    """
    import soundfile

    with scratch_folder() as folder:
        parts = [Path(folder) / f"{k}.wav" for k in range(len(tracks))]
        for part, (path, track) in zip(parts, tracks, strict=True):
            write_plain(path, track, part)
        loudest = max((float(np.abs(block).max()) for block in _sums(parts)), default=0.0)
        out = Path(folder) / "mixed.wav"
        with soundfile.SoundFile(out, "w", PLAIN_HZ, 2, subtype="PCM_16", format="RF64") as file:
            for block in _sums(parts):
                file.write(np.rint(block * (32767.0 / max(1.0, loudest))).astype(np.int16))
        yield out


def _sums(parts: Sequence[Path]) -> Iterator[np.ndarray]:
    """(n, 2) float32 blocks of the sum; full scale is 1, and may be passed."""
    import soundfile

    with ExitStack() as opened:
        files = [opened.enter_context(soundfile.SoundFile(part)) for part in parts]
        blocks = [file.blocks(BLOCK, dtype="float32", always_2d=True) for file in files]
        for pieces in zip_longest(*blocks):
            there = [piece for piece in pieces if piece is not None]
            total = np.zeros((max(map(len, there)), 2), np.float32)
            for piece in there:
                total[: len(piece)] += piece
            yield total
