"""The same words at the same moments in another throat, at another pitch, in noise, through a codec."""

from __future__ import annotations

import tempfile
from pathlib import Path

import librosa
import numpy as np
import soxr

from udh_core import ffmpeg
from udh_core.audio import SAMPLE_RATE_HZ, load_waveform, write_wave

PATCH_S = 8  # of a patchwork: how long a disguise lasts
LONGER, HIGHER = 0.2, 5.0  # at most: of a throat, as a natural logarithm; of a pitch, semitones
NOISE_DB = (8.0, 20.0)  # below the speech
BIT_RATES = ("16k", "24k")  # of AAC
_FFT, _HOP, _ENVELOPE = 1024, 160, 40  # samples; cepstral coefficients that describe a throat


def patchwork(waveform: np.ndarray, seed: int) -> np.ndarray:
    """(n,) → (n,) float32: every PATCH_S has a throat and a pitch of its own, half of them noise; all in a codec."""
    rng, length = np.random.default_rng(seed), PATCH_S * SAMPLE_RATE_HZ
    patches = []
    for start in range(0, len(waveform), length):
        patch = waveform[start : start + length]
        semitones, throat = rng.uniform(-HIGHER, HIGHER), np.exp(rng.uniform(-LONGER, LONGER))
        patch = with_throat(with_pitch(patch, semitones), throat * 2 ** (-semitones / 12))
        below, noise = rng.uniform(*NOISE_DB), rng.standard_normal(len(patch)) * patch.std()
        patches.append(patch + (rng.random() < 0.5) * noise * 10 ** (-below / 20))
    return through(np.concatenate(patches), "aac", BIT_RATES[seed % len(BIT_RATES)])


def with_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """(n,) → (n,) float32, pitch and formants changed together."""
    ratio = 2 ** (semitones / 12)
    faster = soxr.resample(waveform, SAMPLE_RATE_HZ * ratio, SAMPLE_RATE_HZ)
    return librosa.util.fix_length(librosa.effects.time_stretch(faster, rate=1 / ratio), size=len(waveform))


def with_throat(waveform: np.ndarray, factor: float) -> np.ndarray:
    """(n,) → (n,) float32, formants moved by `factor`, the pitch left: the envelope of the spectrum is stretched."""
    spectrum = librosa.stft(waveform, n_fft=_FFT, hop_length=_HOP)
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + 1e-6), axis=0)
    cepstrum[_ENVELOPE : 1 - _ENVELOPE] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    place = np.minimum(np.arange(len(envelope)) / factor, len(envelope) - 1)
    low = np.minimum(place.astype(int), len(envelope) - 2)
    part = (place - low)[:, None]
    moved = envelope[low] * (1 - part) + envelope[low + 1] * part
    result = librosa.istft(spectrum * np.exp(moved - envelope), hop_length=_HOP, length=len(waveform))
    return result.astype(np.float32)


def through(waveform: np.ndarray, codec: str, rate: str) -> np.ndarray:
    """(n,) → (n,) float32, encoded by ffmpeg at this bit rate and decoded."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, coded = Path(scratch) / "plain.wav", Path(scratch) / "coded.mkv"
        write_wave(plain, waveform)
        ffmpeg.run(["-i", str(plain), "-c:a", codec, "-b:a", rate, str(coded)], f"cannot make {coded}")
        decoded = load_waveform(coded)[: len(waveform)]
        return np.pad(decoded, (0, len(waveform) - len(decoded)))
