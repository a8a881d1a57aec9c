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
    import librosa

    filters = mel_filters(bands)
    padded = np.pad(np.asarray(waveform, np.float32), MEL_WINDOW_SAMPLES // 2)
    rows = np.empty((1 + len(waveform) // MEL_HOP_SAMPLES, bands), np.float32)
    for first in range(0, len(rows), MEL_BLOCK_FRAMES):
        last = min(first + MEL_BLOCK_FRAMES, len(rows))
        piece = padded[first * MEL_HOP_SAMPLES : (last - 1) * MEL_HOP_SAMPLES + MEL_WINDOW_SAMPLES]
        spectrum = librosa.stft(piece, n_fft=MEL_WINDOW_SAMPLES, hop_length=MEL_HOP_SAMPLES, center=False)
        rows[first:last] = np.log(np.maximum(filters @ np.abs(spectrum) ** 2, MEL_FLOOR)).T
    return rows


@lru_cache(maxsize=4)
def mel_filters(bands: int) -> np.ndarray:
    """(bands, 201) float32, read-only: mel filters over the power spectrum (Slaney's scale, as librosa and Whisper)."""
    import librosa

    filters = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=MEL_WINDOW_SAMPLES, n_mels=bands)
    filters.setflags(write=False)
    return filters


def whisper_mel(samples: np.ndarray) -> np.ndarray:
    """(480000,) → (80, 3000) float32, as in Whisper: log10 power, cut 8 decades below the peak, (x + 4) / 4."""
    import torch

    wave = torch.from_numpy(samples)
    window = torch.hann_window(MEL_WINDOW_SAMPLES)
    spectrum = torch.stft(wave, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES, window=window, return_complex=True)[:, :-1]
    decades = np.log10(np.maximum(mel_filters(80) @ (spectrum.abs() ** 2).numpy(), MEL_FLOOR))
    return ((np.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
