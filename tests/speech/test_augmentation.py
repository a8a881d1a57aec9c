"""Augmentation of the signal: what each changes and what it leaves; and synthetic silence."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest

from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech import augmentation
from udh_core.speech.augmentation import Augmentation, add_noise, augmented, formant_shift, through_codec

PITCH_HZ, FORMANT_HZ = 100.0, 1500.0


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    """Three seconds of pulses through one resonance."""
    pulses = np.zeros(3 * SAMPLE_RATE_HZ)
    pulses[:: round(SAMPLE_RATE_HZ / PITCH_HZ)] = 1
    time_s = np.arange(400) / SAMPLE_RATE_HZ
    ring = np.exp(-time_s * 500) * np.sin(2 * np.pi * FORMANT_HZ * time_s)
    sound = np.convolve(pulses, ring)[: len(pulses)]
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def pitch_and_formant_hz(sound: np.ndarray) -> tuple[float, float]:
    pitch = librosa.yin(sound, fmin=60, fmax=300, sr=SAMPLE_RATE_HZ)
    spectrum = np.abs(librosa.stft(sound, n_fft=1024)).mean(1)
    smooth = np.convolve(spectrum, np.hanning(15), mode="same")
    return float(np.median(pitch)), float(smooth.argmax() * SAMPLE_RATE_HZ / 1024)


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.2])
def test_formant_shift_leaves_the_pitch(vowel: np.ndarray, factor: float) -> None:
    pitch, formant = pitch_and_formant_hz(vowel)
    moved = formant_shift(vowel, factor)
    assert moved.shape == vowel.shape and moved.dtype == np.float32
    assert pitch_and_formant_hz(moved) == pytest.approx((pitch, formant * factor), rel=0.05)


def test_speed_moves_both(vowel: np.ndarray) -> None:
    pitch, formant = pitch_and_formant_hz(vowel)
    faster = augmented(vowel, Augmentation(1.22))
    assert len(faster) == pytest.approx(len(vowel) / 1.22, abs=2)
    assert pitch_and_formant_hz(faster) == pytest.approx((pitch * 1.22, formant * 1.22), rel=0.05)


@pytest.mark.parametrize("speed", [0.8, 1.22])
def test_pitch_moves_and_the_tempo_stays(vowel: np.ndarray, speed: float) -> None:
    """A pause in the middle stays where it is, to 30 ms."""
    pitch, formant = pitch_and_formant_hz(vowel)
    broken = vowel.copy()
    broken[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ] = 0
    moved = augmented(broken, Augmentation(speed, tempo_kept=True))
    assert moved.shape == vowel.shape and moved.dtype == np.float32
    assert pitch_and_formant_hz(moved[: SAMPLE_RATE_HZ - 2048]) == pytest.approx(
        (pitch * speed, formant * speed), rel=0.05
    )
    loud = np.flatnonzero(np.abs(moved) > 0.2 * np.abs(moved).max())
    before = int(np.diff(loud).argmax())
    middle = (loud[before] + loud[before + 1]) / 2
    assert middle == pytest.approx(1.5 * SAMPLE_RATE_HZ, abs=0.03 * SAMPLE_RATE_HZ)


def test_long_recordings_are_changed_in_blocks(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = load_waveform(person / "speech.wav")
    whole = formant_shift(speech, 1.1)
    monkeypatch.setattr(augmentation, "_BLOCK", 100 * 160)
    np.testing.assert_allclose(formant_shift(speech, 1.1), whole, atol=1e-4)


def test_noise_is_as_loud_as_asked_for(vowel: np.ndarray) -> None:
    noise = add_noise(vowel, 15) - vowel
    assert 20 * np.log10(vowel.std() / noise.std()) == pytest.approx(15, abs=0.1)
    np.testing.assert_array_equal(add_noise(vowel, 15), add_noise(vowel, 15))


@pytest.mark.parametrize("bit_rate", ["16k", "24k"])
def test_codec_takes_detail_and_no_time(person: Path, bit_rate: str) -> None:
    speech = load_waveform(person / "speech.wav")
    coded = through_codec(speech, "aac", bit_rate)
    assert coded.shape == speech.shape
    assert np.abs(coded - speech).max() > 0.01
    lags = np.arange(-400, 401)
    correlation = [float(np.dot(np.roll(coded, lag), speech)) for lag in lags]
    assert abs(lags[int(np.argmax(correlation))]) <= 8  # half a millisecond
    assert np.corrcoef(coded, speech)[0, 1] > 0.9


@pytest.mark.parametrize("augmentation", augmentation.AUGMENTATIONS)
def test_silence_stays_silence(augmentation: Augmentation) -> None:
    result = augmented(np.zeros(16000, np.float32), augmentation)
    assert result.dtype == np.float32
    assert len(result) == pytest.approx(16000 / augmentation.tempo, abs=2)
    assert np.abs(result).max() < 1e-4


def loudness_db(waveform: np.ndarray) -> float:
    return float(20 * np.log10(waveform.std()))


def test_one_is_digital_silence_and_the_others_are_faint() -> None:
    nothing, *noises = augmentation.silent_waveforms()
    assert not nothing.any()
    np.testing.assert_allclose(
        [loudness_db(noise) for noise in noises], [db for db, _ in augmentation.FAINT_DB], atol=0.01
    )
