"""Whether two sounds are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udh_core.media.audio import SAMPLE_RATE_HZ, load_sound, load_waveform, write_wave
from udh_core.media.compare import is_same_sound


@pytest.fixture(scope="module")
def speech(person: Path) -> np.ndarray:
    return load_waveform(person / "person.mp4")


def test_one_sound_by_two_ways_is_the_same(person: Path, speech: np.ndarray, tmp_path: Path) -> None:
    """Through AAC and stereo at its own rate, as ComfyUI hands it on; before AAC; and quieter."""
    write_wave(tmp_path / "stereo.wav", *load_sound(person / "person.mp4"))
    assert is_same_sound(load_waveform(tmp_path / "stereo.wav"), speech)
    assert is_same_sound(load_waveform(person / "speech.wav", duration_s=len(speech) / SAMPLE_RATE_HZ), speech)
    assert is_same_sound(0.1 * speech, speech)


def test_other_words_other_times_and_other_lengths_are_not(speech: np.ndarray) -> None:
    assert not is_same_sound(speech[::-1], speech)
    assert not is_same_sound(np.roll(speech, SAMPLE_RATE_HZ // 25), speech)  # a frame late
    assert not is_same_sound(speech[: int(0.9 * len(speech))], speech)
    assert not is_same_sound(speech + 0.5 * np.roll(speech, 5000), speech)


def test_silence_is_silence_alone(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert is_same_sound(silence, silence + 1e-5)
    assert not is_same_sound(silence, speech)
