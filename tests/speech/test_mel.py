"""Log-mel spectra: where their rows stand, and that they are Whisper's."""

from __future__ import annotations

import numpy as np
import pytest

from udh_core.media.audio import SAMPLE_RATE_HZ
from udh_core.speech.mel import log_mel, whisper_mel


def tone(seconds: float, hz: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)).astype(
        np.float32
    )


def test_log_mel_rows_are_10_ms_and_follow_the_sound() -> None:
    mel = log_mel(np.concatenate([np.zeros(8000, np.float32), tone(0.5, 300), tone(0.5, 3000)]))
    assert mel.shape == (151, 80) and mel.dtype == np.float32
    assert mel[:45].max() < mel[55:].max(axis=1).min() - 10
    assert mel[60:95].argmax(axis=1).max() < mel[105:145].argmax(axis=1).min()


def test_log_mel_in_blocks_equals_log_mel_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, 30000).astype(np.float32)
    whole = log_mel(waveform)
    monkeypatch.setattr("udh_core.speech.mel.MEL_BLOCK_FRAMES", 37)
    np.testing.assert_allclose(log_mel(waveform), whole, atol=1e-5)


def test_whisper_mel_equals_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    wave = np.random.default_rng(0).normal(0, 0.1, 30 * SAMPLE_RATE_HZ).astype(np.float32)
    theirs = WhisperFeatureExtractor()(wave, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np").input_features[0]
    assert np.abs(whisper_mel(wave) - theirs).max() < 1e-3
