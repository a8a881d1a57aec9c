"""Log-mel spectra against librosa's, whose scale and filters they have."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from udh_core.speech.mel import MEL_FLOOR, MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES, log_mel, mel_filters


@pytest.mark.parametrize("bands", [40, 80, 128])
def test_filters_are_librosa_s(bands: int) -> None:
    theirs = librosa.filters.mel(sr=16000, n_fft=MEL_WINDOW_SAMPLES, n_mels=bands)
    assert mel_filters(bands).dtype == np.float32
    np.testing.assert_allclose(mel_filters(bands), theirs, atol=1e-8)


def test_rows_are_librosa_s() -> None:
    wave = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    spectrum = librosa.stft(wave, n_fft=MEL_WINDOW_SAMPLES, hop_length=MEL_HOP_SAMPLES, pad_mode="constant")
    theirs = np.log(np.maximum(mel_filters(80) @ np.abs(spectrum) ** 2, MEL_FLOOR)).T
    np.testing.assert_allclose(log_mel(wave), theirs, atol=1e-3)
