"""Log-mel spectra: 80 bands of librosa's, and Whisper's own."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..media.audio import SAMPLE_RATE_HZ

MEL_HOP_SAMPLES = 160  # 10 ms
MEL_WINDOW_SAMPLES = 400  # 25 ms
MEL_RATE_HZ = SAMPLE_RATE_HZ // MEL_HOP_SAMPLES  # 100
MEL_FLOOR = 1e-10  # power floor before the logarithm, as in Whisper
MEL_BLOCK_FRAMES = 6000  # one minute: 10 MB of spectrum


def log_mel(waveform: np.ndarray, bands: int = 80) -> np.ndarray:
    """(n,) waveform → (1 + n // 160, bands) float32, natural logarithm of mel power; row t is centred on t · 10 ms."""
    filters = mel_filters(bands)
    padded = np.pad(np.asarray(waveform, np.float32), MEL_WINDOW_SAMPLES // 2)
    rows = np.empty((1 + len(waveform) // MEL_HOP_SAMPLES, bands), np.float32)
    for first in range(0, len(rows), MEL_BLOCK_FRAMES):
        last = min(first + MEL_BLOCK_FRAMES, len(rows))
        piece = padded[first * MEL_HOP_SAMPLES : (last - 1) * MEL_HOP_SAMPLES + MEL_WINDOW_SAMPLES]
        rows[first:last] = np.log(np.maximum(filters @ _power(piece, center=False), MEL_FLOOR)).T
    return rows


@lru_cache(maxsize=4)
def mel_filters(bands: int) -> np.ndarray:
    """(bands, 201) float32, read-only: triangles of equal area over the power spectrum, as librosa's and Whisper's.

    On the scale of Slaney's Auditory Toolbox (1998): even steps up to 1 kHz, equal ratios above. Not taken from
    librosa, whose import costs a render three seconds.
    """
    top = 15 + 27 * np.log(SAMPLE_RATE_HZ / 2000) / np.log(6.4)  # mel of the highest frequency; 1 kHz is 15
    mel = np.linspace(0, top, bands + 2)
    hz = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))[:, None]
    bins = np.linspace(0, SAMPLE_RATE_HZ / 2, MEL_WINDOW_SAMPLES // 2 + 1)
    widths = np.diff(hz, axis=0)
    triangles = np.minimum((bins - hz[:-2]) / widths[:-1], (hz[2:] - bins) / widths[1:]).clip(0)
    filters = (triangles * 2 / (hz[2:] - hz[:-2])).astype(np.float32)
    filters.setflags(write=False)
    return filters


def whisper_mel(samples: np.ndarray) -> np.ndarray:
    """(n,) → (80, n // 160) float32, as in Whisper: log10 power, cut 8 decades below the peak, (x + 4) / 4."""
    decades = np.log10(np.maximum(mel_filters(80) @ _power(samples, center=True)[:, :-1], MEL_FLOOR))
    return ((np.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


def _power(samples: np.ndarray, *, center: bool) -> np.ndarray:
    """(n,) float32 → (201, t) float32 power spectrum."""
    import torch

    window = torch.hann_window(MEL_WINDOW_SAMPLES)
    wave = torch.from_numpy(samples)
    spectrum = torch.stft(wave, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, window=window, center=center, return_complex=True)
    return (spectrum.abs() ** 2).numpy()
