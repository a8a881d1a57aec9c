"""Voice activity: when somebody speaks, found by Silero VAD; and when a recording is silent, by its loudness."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..media.audio import SAMPLE_RATE_HZ
from ..weights import registry
from .chunking import padded_slice

if TYPE_CHECKING:
    from .vad import SileroVAD

HOP_SAMPLES = 320  # 20 ms
LEVEL_RATE_HZ = SAMPLE_RATE_HZ / HOP_SAMPLES
PROBABILITY_RATE_HZ = SAMPLE_RATE_HZ / 512  # the network's chunks
FLOOR_DB = -90.0  # digital silence
AUDIBLE_DB = -70.0  # what is never louder is silent, whatever its own loud parts are
PEAK_ROWS, PEAK_RANGE_DB = 20, 25.0  # the loudest 0.4 s; loud speech is found near it, however long the pauses

WEIGHTS = "silero_vad.safetensors"
# Against GRID's word times, in quiet and in noise: between 0.2 and 0.5 equally many frames agree, in loud noise the
# fewer are missed and the more are false alarms the lower it is (benchmarks/results/vad.md).
SPEECH_PROBABILITY = 0.4
DELAY_S = 0.04  # by which the network, which has no look-ahead, is late (the same words; 0.03 and 0.05 are as good)
BRIDGED_S = 0.2  # shorter pauses belong to the speech around them: the closure of a stop consonant is silent
LOUD_DB, MOST_GAIN_DB = -20.0, 60.0  # quieter recordings are amplified to this; the network misses faint speech
BLOCK_CHUNKS = 2000  # at a time: a minute, 40 MB
# What the network takes for speech in noise, hum and music is less than this; both measured on generated sounds.
LEAST_S, LEAST_SHARE = 0.3, 0.01
EXCERPTS, EXCERPT_S, LOOK_HZ = 20, 6.0, 25.0  # what of a longer recording is looked at first, and how often a second

# Silence. Measured on the GRID speaker, whose mouth opens half a second before a sentence, with a breath about 20 dB
# below speech: a breath must end the silence, and the mouth be free well before a sound, or it follows the truth worse.
SILENT_DB, SOUND_DB = 26.0, 22.0  # below loud speech: under the one silence begins, over the other it ends
SILENT_S = 0.25  # how long it must be so quiet
LEAD_S, EASE_S = 0.2, 0.2  # before a sound the mouth is free again; how long it takes to and from the rest pose


def levels_db(waveform: np.ndarray) -> np.ndarray:
    """(n,) waveform → (n // 320 + 1,) float32 loudness at LEVEL_RATE_HZ, dB of full scale, of 40 ms around each row."""
    samples = np.asarray(waveform, np.float32)
    whole = len(samples) // HOP_SAMPLES * HOP_SAMPLES
    hops, left = samples[:whole].reshape(-1, HOP_SAMPLES), samples[whole:]
    power = np.pad(np.einsum("ij,ij->i", hops, hops), (1, 2)) / HOP_SAMPLES
    power[-2] = left @ left / HOP_SAMPLES
    smooth = (power[:-2] + 2 * power[1:-1] + power[2:]) / 4
    return (10 * np.log10(np.maximum(smooth, 10 ** (FLOOR_DB / 10)))).astype(np.float32)


def speech_mask(
    waveform: np.ndarray, times_s: np.ndarray, *, loud: float | None = None, models: Path | None = None
) -> np.ndarray:
    """(n,) bool: whether somebody speaks at these times (n,); noise, music and silence are no speech.

    waveform: (m,) float32 -1..1 at 16 kHz. loud: dB, how loud its loud parts are, where it is a part of something
    longer. `models` is the folder of weight files (default: weights.models_dir()). WeightsError when the network's file
    is missing.
    """
    level = levels_db(waveform)
    loud = loud_db(level) if loud is None else loud
    probability = speech_probability(waveform, loud=loud, models=models)
    if len(probability) == 0:
        return np.zeros(len(times_s), bool)
    middles_s = (np.arange(len(probability)) + 0.5) / PROBABILITY_RATE_HZ - DELAY_S
    rows_s = (np.arange(len(level)) + 0.5) / LEVEL_RATE_HZ
    spoken = np.interp(rows_s, middles_s, probability) > SPEECH_PROBABILITY
    spoken &= level > loud - SILENT_DB  # the network bridges pauses of half a second in fast speech
    index = np.floor(np.asarray(times_s, np.float64) * LEVEL_RATE_HZ).astype(int)
    return _closed(spoken, BRIDGED_S)[np.clip(index, 0, len(spoken) - 1)]


def speech_share(waveform: np.ndarray, *, models: Path | None = None) -> float:
    """Share of the time of a waveform (n,) at 16 kHz in which somebody speaks; 0 where nobody does.

    A longer waveform is looked at in excerpts, and as a whole where they hold no speech. Errors as in `speech_mask`.
    """
    excerpt = excerpts(waveform, EXCERPTS, EXCERPT_S)
    found = _enough(excerpt, models)
    return found if found or len(excerpt) == len(waveform) else _enough(waveform, models)


def is_enough(speech_s: float, lasts_s: float) -> bool:
    """Whether seconds of speech found in a recording of this length are no mistake of the network."""
    return speech_s >= max(LEAST_S, LEAST_SHARE * lasts_s)


def _enough(waveform: np.ndarray, models: Path | None) -> float:
    """Share of the time with speech; 0 where it may be a mistake."""
    lasts_s = len(waveform) / SAMPLE_RATE_HZ
    spoken = speech_mask(waveform, np.arange(0.5 / LOOK_HZ, lasts_s, 1 / LOOK_HZ), models=models)
    share = float(spoken.mean()) if len(spoken) else 0.0
    return share if is_enough(share * lasts_s, lasts_s) else 0.0


def excerpts(waveform: np.ndarray, count: int, length_s: float) -> np.ndarray:
    """`count` evenly spread parts of a longer waveform (n,), one after the other; all of a shorter one."""
    length = round(length_s * SAMPLE_RATE_HZ)
    if len(waveform) <= count * length:
        return waveform
    starts = np.linspace(0, len(waveform) - length, count).astype(int)
    return np.concatenate([waveform[start : start + length] for start in starts])


def speech_probability(waveform: np.ndarray, *, loud: float | None = None, models: Path | None = None) -> np.ndarray:
    """(n,) waveform → (ceil(n / 512),) float32 0..1 at PROBABILITY_RATE_HZ, late by DELAY_S. Blockwise.

    loud: as in `speech_mask`.
    """
    import torch

    from .vad import CHUNK_SAMPLES, CONTEXT_SAMPLES

    network, state = _network(registry.weight_path(WEIGHTS, models)), None
    loud = loud_db(levels_db(waveform)) if loud is None else loud
    gain = np.float32(10 ** (np.clip(LOUD_DB - loud, 0.0, MOST_GAIN_DB) / 20))
    result = np.empty(-(-len(waveform) // CHUNK_SAMPLES), np.float32)
    for first in range(0, len(result), BLOCK_CHUNKS):
        count = min(BLOCK_CHUNKS, len(result) - first)
        start = first * CHUNK_SAMPLES - CONTEXT_SAMPLES
        samples = gain * padded_slice(waveform, start, CONTEXT_SAMPLES + count * CHUNK_SAMPLES)
        chunks = torch.from_numpy(samples).unfold(0, CONTEXT_SAMPLES + CHUNK_SAMPLES, CHUNK_SAMPLES)
        with torch.inference_mode():
            probability, state = network(chunks, state)
        result[first : first + count] = probability.numpy()
    return result


@lru_cache(maxsize=2)
def _network(path: Path) -> SileroVAD:
    from safetensors.torch import load_file

    from .vad import SileroVAD

    network = SileroVAD().eval()
    network.load_state_dict(load_file(path))
    return network


def silence(waveform: np.ndarray, times_s: np.ndarray, *, loud: float | None = None) -> np.ndarray:
    """(n,) float32: weight of the rest pose at these times (n,) in seconds, 0 speech to 1 silence, smooth in between.

    waveform: (m,) float32 -1..1 at 16 kHz. loud: as in `speech_mask`. A sound between the two thresholds
    changes nothing. Before and after the recording it is silent.
    """
    level = levels_db(waveform)
    loud = loud_db(level) if loud is None else loud
    silent_db, sound_db = max(loud - SILENT_DB, AUDIBLE_DB), max(loud - SOUND_DB, AUDIBLE_DB)
    around = round((SILENT_S + LEAD_S + 2 * EASE_S) * LEVEL_RATE_HZ)
    level = np.pad(level, around, constant_values=FLOOR_DB)
    still = _opened(level < silent_db, SILENT_S)
    sounds = _since_s(level > sound_db) <= _since_s(still)
    ease = np.clip(np.minimum(_since_s(sounds), _since_s(sounds[::-1])[::-1] - LEAD_S) / EASE_S, 0, 1)
    weight = ease * ease * (3 - 2 * ease)
    rows = np.asarray(times_s, np.float64) * LEVEL_RATE_HZ - 0.5 + around
    return np.interp(rows, np.arange(len(weight)), weight).astype(np.float32)


def away_from_speech(spoken: np.ndarray, margin: int) -> np.ndarray:
    """(n,) bool: nobody speaks within `margin` frames to either side, given where somebody does, (n,) bool."""
    return np.convolve(spoken.astype(float), np.ones(2 * margin + 1), mode="same") < 0.5


def loud_db(level: np.ndarray) -> float:
    """How loud the loud parts of a recording with these levels (n,) are, however long its pauses."""
    peak = np.sort(level)[-min(PEAK_ROWS, len(level))]
    return float(np.percentile(level[level >= peak - PEAK_RANGE_DB], 90))


def _opened(marked: np.ndarray, length_s: float) -> np.ndarray:
    """(n,) bool rows without runs of marked ones shorter than this; beyond the ends everything counts as marked."""
    half = round(length_s * LEVEL_RATE_HZ / 2)
    return _near(~_near(~marked, half), half)


def _closed(marked: np.ndarray, length_s: float) -> np.ndarray:
    """(n,) bool rows without inner gaps shorter than this between marked ones."""
    half = round(length_s * LEVEL_RATE_HZ / 2)
    return ~_near(~_near(marked, half), half)


def _near(marked: np.ndarray, reach: int) -> np.ndarray:
    """(n,) bool: whether a row that is marked lies within `reach` rows."""
    before = np.concatenate([[0], np.cumsum(marked)])
    rows = np.arange(len(marked))
    return before[np.minimum(rows + reach + 1, len(marked))] > before[np.maximum(rows - reach, 0)]


def _since_s(marked: np.ndarray) -> np.ndarray:
    """(n,) float64 seconds from the last marked row to each one; infinite before the first."""
    row = np.arange(len(marked), dtype=np.float64)
    return (row - np.maximum.accumulate(np.where(marked, row, -np.inf))) / LEVEL_RATE_HZ
