"""Whether two sounds are the same one, read at another rate, from another file or through another codec."""

from __future__ import annotations

import numpy as np

MIN_CORRELATION = 0.98  # one sound, resampled and rounded to 16 bits, or through AAC: 0.99 and more; two: below 0.2
LENGTH_SHARE = 0.02  # by how much of the longer one their lengths may differ; chosen
SILENCE = 1e-4  # amplitude below which a sound is nothing but rounding; chosen


def is_same_sound(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two waveforms (n,), (m,) float32 of one rate say the same thing at the same time, however loud."""
    count, longest = min(len(one), len(other)), max(len(one), len(other))
    if longest - count > LENGTH_SHARE * longest:
        return False
    first, second = one[:count], other[:count]
    lengths = [float(np.linalg.norm(sound)) for sound in (first, second)]
    silent = [length < SILENCE * np.sqrt(count) for length in lengths]
    if any(silent):
        return all(silent)
    return float(np.dot(first, second)) / (lengths[0] * lengths[1]) >= MIN_CORRELATION
