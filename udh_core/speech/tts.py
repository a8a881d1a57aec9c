"""Text to speech."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError, UdhError
from ..media.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from hibari import Hibari

CHARACTERS_PER_S = 13.0  # of the default voice, pauses included; on the low side, so that the text suffices


def speak(text: str, *, voice: str | None = None, speed: float = 1.0) -> np.ndarray:
    """Speak English text: (n,) float32 [-1, 1] at 16 kHz, always the same for the same text.

    The default voice comes inside hibari-tts; others are downloaded by it. OptionError: no words, or no such voice.
    UdhError: hibari-tts is not installed.
    """
    import soxr

    speaker = _speaker(voice)
    samples = speaker(text, speed=speed, seed=0)
    if not len(samples):
        raise OptionError(f"nothing to say in {text[:40]!r}: give some English words")
    return np.clip(soxr.resample(samples, speaker.sample_rate, SAMPLE_RATE_HZ), -1, 1).astype(np.float32)


@lru_cache(maxsize=2)
def _speaker(voice: str | None) -> Hibari:
    try:
        from hibari import Hibari
    except ImportError as e:
        raise UdhError("speaking text needs hibari-tts, which is not installed: pip install hibari-tts") from e
    try:
        return Hibari(voice) if voice else Hibari()
    except (ValueError, RuntimeError, OSError) as e:  # unknown name; could not be downloaded
        raise OptionError(f"voice {voice!r} cannot be used: {' '.join(str(e).split())}") from e
