"""Audio augmentation: speed perturbation, formant shift, additive noise, codec; and synthetic silence.

Speed perturbation: Ko et al. 2015. Formant shift: the envelope of linear prediction (LPC, Makhoul 1975) stretched along
frequency, as vocal tract length perturbation does (VTLP, Jaitly & Hinton 2013).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from ..files import scratch_folder
from ..media import ffmpeg
from ..media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave

_FFT, _HOP = 1024, 160  # samples: windows of 64 ms every 10 ms
_VOCODER_FFT = 512  # samples: windows of 32 ms; a vocoder's longer ones smear consonants into each other
_ORDER = 18  # of the linear prediction: two poles a formant, eight or nine of which lie below 8 kHz
_BLOCK, _MARGIN = 2000 * _HOP, 10 * _HOP  # samples at a time


class Augmentation(NamedTuple):
    """What is done to a recording, in this order."""

    speed: float  # moves pitch, formants and tempo together
    tempo_kept: bool = False  # the tempo is brought back, pitch and formants stay moved
    formant_ratio: float = 1.0  # moves the formants alone
    snr_db: float | None = None  # of white noise, below the recording
    bit_rate: str | None = None  # of AAC

    @property
    def tempo(self) -> float:
        """What is at time t of the recording is at t / tempo afterwards."""
        return 1.0 if self.tempo_kept else self.speed


AUGMENTATIONS = (
    Augmentation(0.8, tempo_kept=True, snr_db=20),
    Augmentation(0.9, formant_ratio=1.1, bit_rate="24k"),
    Augmentation(1.1, formant_ratio=0.9, snr_db=20),
    Augmentation(1.22, tempo_kept=True, bit_rate="24k"),
)
LENGTH_S = 12  # of a silent waveform
FAINT_DB = (-80.0, 0.0), (-55.0, 0.0), (-70.0, 1.0), (-50.0, 1.0)  # of full scale, and 0 for white noise, 1 for pink


def augmented(waveform: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """(n,) float32 at 16 kHz → (n / tempo,) float32 at 16 kHz, always the same. MediaError: no such codec."""
    result = soxr.resample(waveform, SAMPLE_RATE_HZ * augmentation.speed, SAMPLE_RATE_HZ)
    if augmentation.tempo_kept:
        result = with_length(result, len(waveform))
    if augmentation.formant_ratio != 1:
        result = formant_shift(result, augmentation.formant_ratio)
    if augmentation.snr_db is not None:
        result = add_noise(result, augmentation.snr_db)
    if augmentation.bit_rate is not None:
        result = through_codec(result, "aac", augmentation.bit_rate)
    return result


def with_length(waveform: np.ndarray, count: int) -> np.ndarray:
    """(n,) → (count,) float32: another tempo, the pitch left, by a phase vocoder (Flanagan and Golden 1966).

    Block by block: its phases begin anew every 20 s.
    """
    import librosa

    rate, parts = len(waveform) / count, []
    for start in range(0, count, _BLOCK):
        length = min(_BLOCK, count - start)
        part = waveform[round(start * rate) : round((start + length) * rate)]
        stretched = librosa.effects.time_stretch(part, rate=rate, n_fft=_VOCODER_FFT)
        parts.append(librosa.util.fix_length(stretched, size=length))
    return np.concatenate(parts).astype(np.float32)


def formant_shift(waveform: np.ndarray, factor: float) -> np.ndarray:
    """(n,) → (n,) float32 at 16 kHz: formants moved by `factor`, the pitch left; the spectral envelope is stretched."""
    parts = []
    for start in range(0, len(waveform), _BLOCK):
        low = max(0, start - _MARGIN)
        part = _stretched(waveform[low : start + _BLOCK + _MARGIN], factor)
        parts.append(part[start - low :][:_BLOCK])
    return np.concatenate(parts)


def _stretched(waveform: np.ndarray, factor: float) -> np.ndarray:
    import librosa

    spectrum = librosa.stft(waveform, n_fft=_FFT, hop_length=_HOP)
    envelope = _log_envelope(spectrum)
    place = np.minimum(np.arange(len(envelope)) / factor, len(envelope) - 1)
    low = np.minimum(place.astype(int), len(envelope) - 2)
    part = (place - low)[:, None]
    moved = envelope[low] * (1 - part) + envelope[low + 1] * part
    result = librosa.istft(spectrum * np.exp(moved - envelope), hop_length=_HOP, length=len(waveform))
    return result.astype(np.float32)


def _log_envelope(spectrum: np.ndarray) -> np.ndarray:
    """(bins, t) complex → (bins, t) float64: spectral envelope by linear prediction, natural logarithm of amplitude.

    The autocorrelation method (Makhoul 1975), all windows at once.
    """
    autocorrelation = np.fft.irfft(np.abs(spectrum.T) ** 2)[:, : _ORDER + 1]
    autocorrelation[:, 0] = autocorrelation[:, 0] * 1.001 + 1e-9
    near = np.abs(np.arange(_ORDER)[:, None] - np.arange(_ORDER))
    taps = np.linalg.solve(autocorrelation[:, near], autocorrelation[:, 1:, None])[..., 0]
    whitening = np.concatenate([np.ones((len(taps), 1)), -taps], axis=1)
    return -np.log(np.abs(np.fft.rfft(whitening, _FFT)) + 1e-6).T


def add_noise(waveform: np.ndarray, snr_db: float) -> np.ndarray:
    """(n,) → (n,) float32 with white noise so many dB below it, always the same."""
    noise = np.random.default_rng(0).standard_normal(len(waveform)).astype(np.float32)
    return waveform + noise * np.float32(waveform.std() * 10 ** (-snr_db / 20))


def through_codec(waveform: np.ndarray, codec: str, bit_rate: str) -> np.ndarray:
    """(n,) → (n,) float32, encoded by ffmpeg with this codec ("aac") at this bit rate ("24k", bit/s) and decoded."""
    with scratch_folder() as scratch:
        plain, coded = Path(scratch) / "plain.wav", Path(scratch) / "coded.mkv"
        write_wave(plain, waveform)
        ffmpeg.run(["-i", str(plain), "-c:a", codec, "-b:a", bit_rate, str(coded)], f"cannot make {coded}")
        decoded = load_waveform(coded)[: len(waveform)]
        return np.pad(decoded, (0, len(waveform) - len(decoded)))


def silent_waveforms() -> list[np.ndarray]:
    """(n,) float32 each: digital silence, then the noises of FAINT_DB; always the same."""
    count, rng = LENGTH_S * SAMPLE_RATE_HZ, np.random.default_rng(0)
    found = [np.zeros(count, np.float32)]
    for loudness, tilt in FAINT_DB:
        spectrum = np.fft.rfft(rng.standard_normal(count))
        noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (tilt / 2), count)
        found.append((noise * 10 ** (loudness / 20) / noise.std()).astype(np.float32))
    return found
