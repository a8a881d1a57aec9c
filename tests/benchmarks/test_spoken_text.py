"""Words that are aligned with a sound, and with another voice's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.spoken_text import Sentence, aligned, read_sentences, same_moments
from udh_core.media.audio import SAMPLE_RATE_HZ
from udh_core.speech.features import AudioFeatures
from udh_core.speech.tts import speak

TEXT = "please bring my map"


def test_phones_come_in_order_and_as_late_as_the_sound() -> None:
    pytest.importorskip("pocketsphinx")
    sound, late = speak(TEXT), np.zeros(SAMPLE_RATE_HZ, np.float32)
    length_s = len(sound) / SAMPLE_RATE_HZ
    phones = list(aligned(sound, [Sentence(0.0, length_s, TEXT)]))
    assert [p.name for p in phones if p.name in "PBM"] == ["P", "B", "M", "M", "P"]
    assert all(p.start_s < p.end_s <= length_s + 0.01 for p in phones)
    shifted = list(aligned(np.concatenate([late, sound]), [Sentence(1.0, 1 + length_s, TEXT)]))
    first, moved = (next(p.start_s for p in found if p.name == "P") for found in (phones, shifted))
    assert moved - first == pytest.approx(1.0, abs=0.03)


def test_words_that_are_not_spoken_have_no_phones() -> None:
    pytest.importorskip("pocketsphinx")
    silence = np.zeros(SAMPLE_RATE_HZ // 4, np.float32)
    assert not list(aligned(silence, [Sentence(0.0, 0.25, "considerably more words than fit into it")]))


def test_rows_are_sentences_from_silence_to_silence(tmp_path: Path) -> None:
    table = tmp_path / "words.tsv"
    rows = ["0\t0.5\tsil", "0.5\t0.8\tbin", "0.8\t0.9\tsp", "0.9\t1.2\tblue", "1.2\t2\tsil", "2\t3\tHello there."]
    table.write_text("\n".join(["start_s\tend_s\tword", *rows]) + "\n")
    assert read_sentences(table) == [Sentence(0.5, 1.2, "bin blue"), Sentence(2.0, 3.0, "Hello there.")]


def test_the_same_words_at_half_the_tempo_come_twice_as_late() -> None:
    own = np.random.default_rng(0).standard_normal((40, 8)).cumsum(0).astype(np.float32)
    slow = AudioFeatures(np.repeat(own, 2, axis=0), 50.0, "whisper-tiny")
    times_s = np.linspace(0.1, 0.7, 7)
    np.testing.assert_allclose(same_moments(own, slow, 50.0, times_s), 2 * times_s, atol=0.011)
