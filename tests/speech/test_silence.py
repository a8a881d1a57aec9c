"""When the mouth rests: the weight of silence, by the loudness of a recording."""

from __future__ import annotations

import numpy as np

from udh_core.media.audio import SAMPLE_RATE_HZ
from udh_core.speech.activity import EASE_S, LEAD_S, silence

SPEECH_DB = -15.0


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """Noise in parts of (seconds, dB above or below speech)."""
    noise = np.random.default_rng(0).normal(size=round(sum(length for length, _ in parts) * SAMPLE_RATE_HZ))
    level = np.repeat([10 ** ((SPEECH_DB + db) / 20) for _, db in parts], [round(s * SAMPLE_RATE_HZ) for s, _ in parts])
    return (noise * level).astype(np.float32)


def weight(waveform: np.ndarray) -> np.ndarray:
    """(n,) a hundred times a second."""
    return silence(waveform, np.arange(len(waveform) // 160) / 100)


def test_digital_silence_is_silent_everywhere() -> None:
    assert (silence(np.zeros(32000, np.float32), np.arange(0, 4, 0.1)) == 1).all()


def test_speech_is_not_silent() -> None:
    assert (weight(sound((2, 0))) == 0).all()
    assert (weight(sound((1, 0), (0.2, -60), (1, 0))) == 0).all()  # a stop consonant


def test_pause_is_entered_and_left_smoothly_and_before_the_sound() -> None:
    found = weight(sound((2, 0), (2, -60), (2, 0)))
    assert (found[:200] == 0).all()
    assert (found[200 + round(100 * EASE_S) + 4 : 400 - round(100 * (EASE_S + LEAD_S)) - 4] == 1).all()
    assert (found[400 - round(100 * LEAD_S) + 2 :] == 0).all()
    assert np.abs(np.diff(found)).max() < 0.09  # in 10 ms


def test_sound_between_the_thresholds_changes_nothing() -> None:
    pause, dip = (
        weight(sound((2, 0), (2, -60), (2, 0))),
        weight(sound((2, 0), (0.9, -60), (0.2, -24), (0.9, -60), (2, 0))),
    )
    assert np.array_equal(dip, pause)
    assert (weight(sound((2, 0), (2, -24), (2, 0))) == 0).all()
    woken = weight(sound((2, 0), (0.9, -60), (0.2, -18), (0.9, -60), (2, 0)))
    assert woken[300] == 0 and woken[240] == 1


def test_loudness_of_the_recording_does_not_matter() -> None:
    parts = sound((2, 0), (2, -35), (2, 0))
    np.testing.assert_allclose(weight(parts * 0.1), weight(parts), atol=1e-4)


def test_few_words_in_a_long_noisy_silence() -> None:
    found = weight(sound((30, -30), (1, 0), (30, -30)))
    assert found[:2900].min() == 1 and found[3200:].min() == 1
    assert (found[3000:3100] == 0).all()


def test_after_the_recording_it_is_silent() -> None:
    found = silence(sound((1, 0)), np.arange(0, 3, 0.01))
    assert found[95] == 0 and (found[130:] == 1).all()
