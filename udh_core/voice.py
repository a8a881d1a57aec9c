"""When somebody speaks, and when it is silent: by loudness, relative to the loud speech of the recording."""

from __future__ import annotations

import cv2
import numpy as np

from .audio import SAMPLE_RATE_HZ

HOP_SAMPLES = 320  # 20 ms
LEVEL_RATE_HZ = SAMPLE_RATE_HZ / HOP_SAMPLES
FLOOR_DB = -90.0  # digital silence
BELOW_LOUD_DB = 20.0  # how far below loud speech the threshold lies (against GRID's word times: 88 % agree, the best)
PEAK_ROWS, PEAK_RANGE_DB = 20, 25.0  # the loudest 0.4 s; loud speech is found near it, however long the pauses
STEADY_DB = 2.5  # speech varies more, in noise 5 dB below it still by 3.4; pink noise varies by 1.7
BRIDGED_S = 0.2  # shorter pauses belong to the speech around them: the closure of a stop consonant is silent

# Silence. Measured on the GRID speaker, whose mouth opens half a second before a sentence, with a breath about 20 dB
# below speech: a breath must end the silence, and the mouth be free well before a sound, or it follows the truth worse.
SILENT_DB, HEARD_DB = 26.0, 22.0  # below loud speech: under the one silence begins, over the other it ends
SILENT_S = 0.25  # how long it must be so quiet
LEAD_S, EASE_S = 0.2, 0.2  # before a sound the mouth is free again; how long it takes to and from its rest


def levels_db(waveform: np.ndarray) -> np.ndarray:
    """(n,) waveform → (n // 320 + 1,) float32 loudness at LEVEL_RATE_HZ, dB of full scale, of 40 ms around each row."""
    samples = np.asarray(waveform, np.float32)
    whole = len(samples) // HOP_SAMPLES * HOP_SAMPLES
    hops, left = samples[:whole].reshape(-1, HOP_SAMPLES), samples[whole:]
    power = np.pad(np.einsum("ij,ij->i", hops, hops), (1, 2)) / HOP_SAMPLES
    power[-2] = left @ left / HOP_SAMPLES
    smooth = (power[:-2] + 2 * power[1:-1] + power[2:]) / 4
    return (10 * np.log10(np.maximum(smooth, 10 ** (FLOOR_DB / 10)))).astype(np.float32)


def speech_mask(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) bool: whether somebody speaks at these times (n,); False everywhere in a silent recording."""
    level = levels_db(waveform)
    bridged = _joined(level > _threshold_db(level, BELOW_LOUD_DB), BRIDGED_S, cv2.MORPH_CLOSE)
    return _at(bridged, times_s)


def voice_mask(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) bool: as `speech_mask`; False everywhere when what is heard at these times is steady, as noise is."""
    spoken = speech_mask(waveform, times_s)
    levels = _at(levels_db(waveform), times_s)[spoken]
    return spoken & (len(levels) > 0 and levels.std() >= STEADY_DB)


def silence(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) float32: how far the mouth rests at these times (n,), 0 speech to 1 silence, without a jump between them.

    A sound between the two thresholds changes nothing. Before and after the recording it is silent.
    """
    level = levels_db(waveform)
    quiet, heard = (_threshold_db(level, below) for below in (SILENT_DB, HEARD_DB))
    around = round((SILENT_S + LEAD_S + 2 * EASE_S) * LEVEL_RATE_HZ)
    level = np.pad(level, around, constant_values=FLOOR_DB)
    still = _joined(level < quiet, SILENT_S, cv2.MORPH_OPEN)
    sounds = _since_s(level > heard) <= _since_s(still)
    ease = np.clip(np.minimum(_since_s(sounds), _since_s(sounds[::-1])[::-1] - LEAD_S) / EASE_S, 0, 1)
    weight = ease * ease * (3 - 2 * ease)
    rows = np.asarray(times_s, np.float64) * LEVEL_RATE_HZ - 0.5 + around
    return np.interp(rows, np.arange(len(weight)), weight).astype(np.float32)


def away_from_speech(spoken: np.ndarray, reach: int) -> np.ndarray:
    """(n,) bool: nobody speaks within `reach` frames, given where somebody does (n,)."""
    return np.convolve(spoken.astype(float), np.ones(2 * reach + 1), mode="same") < 0.5


def _at(rows: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) of the rows at LEVEL_RATE_HZ, those of these times (n,)."""
    index = np.floor(np.asarray(times_s, np.float64) * LEVEL_RATE_HZ).astype(int)
    return rows[np.clip(index, 0, len(rows) - 1)]


def _threshold_db(level: np.ndarray, below: float) -> float:
    """So far below the loud speech of a recording with these levels (n,), but well above digital silence."""
    peak = np.sort(level)[-min(PEAK_ROWS, len(level))]
    loud = float(np.percentile(level[level >= peak - PEAK_RANGE_DB], 90))
    return max(loud - below, FLOOR_DB + BELOW_LOUD_DB)


def _joined(marked: np.ndarray, length_s: float, how: int) -> np.ndarray:
    """(n,) bool rows without runs shorter than this: of marked ones (MORPH_OPEN), of others (MORPH_CLOSE)."""
    reach = np.ones((1, 2 * round(length_s * LEVEL_RATE_HZ / 2) + 1), np.uint8)
    return cv2.morphologyEx(marked.astype(np.uint8)[None], how, reach)[0].astype(bool)


def _since_s(marked: np.ndarray) -> np.ndarray:
    """(n,) float64 seconds from the last marked row to each one; infinite before the first."""
    row = np.arange(len(marked), dtype=np.float64)
    return (row - np.maximum.accumulate(np.where(marked, row, -np.inf))) / LEVEL_RATE_HZ
