"""Sounds that make finding speech hard: noise, synthetic music, babble, rooms and whispers."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import scipy.signal

from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech.activity import HOP_SAMPLES, levels_db

COLOURS = {"white": 0, "pink": 1, "brown": 2}  # power falls with this power of the frequency
_BEAT_S = 0.6
_CHORDS = (0, 5, 3, 4)  # steps of the major scale: C, A minor, F, G; four beats each
_MAJOR = (0, 2, 4, 5, 7, 9, 11)  # semitones
_C_HZ = 65.4
_TALKERS = 6


def coloured_noise(count: int, colour: str, seed: int = 0) -> np.ndarray:
    """(count,) float32 of standard deviation 1; below 20 Hz it is white."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ), 20.0)
    return _normalised(np.fft.irfft(spectrum * frequency ** (-COLOURS[colour] / 2), count))


def music(count: int, seed: int = 0) -> np.ndarray:
    """(count,) float32 of standard deviation 1: chords, bass, drums, and a tune in the range of a voice."""
    rng, result = np.random.default_rng(seed), np.zeros(count)
    for beat in range(round(count / SAMPLE_RATE_HZ / _BEAT_S) + 1):
        at_s, root = beat * _BEAT_S, _CHORDS[beat // 4 % 4]
        if beat % 4 == 0:
            for step in (0, 2, 4):
                _add(result, at_s, 0.25 * _tone(_note_hz(root + step, 1), 4 * _BEAT_S, 6, decay_s=1.5))
        _add(result, at_s, 0.5 * _tone(_note_hz(root, 0), _BEAT_S, 3, decay_s=0.4))
        if rng.random() < 0.75:
            length_s = _BEAT_S * (1 if rng.random() < 0.5 else 0.5)
            _add(result, at_s, 0.35 * _tone(_note_hz(int(rng.integers(7)), 2), length_s, 8, decay_s=0.8, vibrato=0.3))
        _add(result, at_s, _snare(rng) if beat % 2 else _kick())
        for half in (0.0, 0.5):
            _add(result, at_s + half * _BEAT_S, _hat(rng))
    return _normalised(result)


def babble(count: int, recordings: list[Path], seed: int = 0) -> np.ndarray:
    """(count,) float32 of standard deviation 1: six people at a time, from these recordings."""
    rng, result = np.random.default_rng(seed), np.zeros(count)
    for _ in range(_TALKERS):
        parts, length = [], 0
        while length < count:
            parts.append(_normalised(load_waveform(recordings[int(rng.integers(len(recordings)))])))
            length += len(parts[-1])
        result += np.concatenate(parts)[:count]
    return _normalised(result)


def in_room(waveform: np.ndarray, reverberation_s: float, below_direct_db: float) -> np.ndarray:
    """(n,) → (n,) float32 as loud as before, with an echo that fades by 60 dB within this time."""
    times_s = np.arange(round(reverberation_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echo = np.random.default_rng(0).standard_normal(len(times_s)) * 10 ** (-3 * times_s / reverberation_s)
    echo *= 10 ** (-below_direct_db / 20) / np.linalg.norm(echo)
    echo[0] += 1
    far = scipy.signal.fftconvolve(waveform, echo)[: len(waveform)]
    return (far * (waveform.std() / far.std())).astype(np.float32)


def whispered(waveform: np.ndarray) -> np.ndarray:
    """(n,) → (n,) float32: noise with the formants and the loudness of the speech, and less bass: no voice in it."""
    sizes = np.abs(librosa.stft(waveform, n_fft=512, hop_length=160))
    noise = np.random.default_rng(0).standard_normal(len(waveform)).astype(np.float32)
    breath = librosa.stft(noise, n_fft=512, hop_length=160)
    cepstrum = np.fft.irfft(np.log(sizes + 1e-5), axis=0)
    cepstrum[20:-19] = 0  # the pitch goes, the formants stay
    envelope = np.exp(np.fft.rfft(cepstrum, axis=0).real)
    result = librosa.istft(envelope * breath, hop_length=160, length=len(waveform))
    result = scipy.signal.lfilter([1, -0.7], [1], result)
    return (result * (waveform.std() / result.std())).astype(np.float32)


def without_pauses(waveform: np.ndarray) -> np.ndarray:
    """(n,) → (m,): without what is 25 dB below the loudest part."""
    level = levels_db(waveform)[: len(waveform) // HOP_SAMPLES]
    loud = np.repeat(level > level.max() - 25, HOP_SAMPLES)
    return waveform[: len(loud)][loud]


def _normalised(samples: np.ndarray) -> np.ndarray:
    return (samples / max(float(samples.std()), 1e-6)).astype(np.float32)


def _add(result: np.ndarray, at_s: float, samples: np.ndarray) -> None:
    start = round(at_s * SAMPLE_RATE_HZ)
    part = result[start : start + len(samples)]
    part += samples[: len(part)]


def _note_hz(step: int, octave: int) -> float:
    return _C_HZ * 2 ** (octave + step // 7 + _MAJOR[step % 7] / 12)


def _tone(hz: float, length_s: float, partials: int, *, decay_s: float, vibrato: float = 0.0) -> np.ndarray:
    times_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * hz * times_s + vibrato * np.sin(2 * np.pi * 5.5 * times_s)
    samples = sum(np.sin((k + 1) * phase) / (k + 1) for k in range(partials))
    fade = np.minimum(times_s / 0.02, 1) * np.minimum((length_s - times_s) / 0.03, 1)
    return samples * fade * np.exp(-times_s / decay_s)


def _kick() -> np.ndarray:
    times_s = np.arange(round(0.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return 0.8 * np.sin(2 * np.pi * (50 * times_s + 1.5 * (1 - np.exp(-times_s / 0.03)))) * np.exp(-times_s / 0.05)


def _snare(rng: np.random.Generator) -> np.ndarray:
    count = round(0.15 * SAMPLE_RATE_HZ)
    return 0.35 * rng.standard_normal(count) * np.exp(-np.arange(count) / SAMPLE_RATE_HZ / 0.04)


def _hat(rng: np.random.Generator) -> np.ndarray:
    count = round(0.06 * SAMPLE_RATE_HZ)
    return 0.12 * np.diff(rng.standard_normal(count + 1)) * np.exp(-np.arange(count) / SAMPLE_RATE_HZ / 0.012)
