"""The words of a clip: read from a table, aligned phone by phone, and spoken by synthetic voices.

A table is tab-separated, with the columns start_s, end_s and word, as `udh evaluate --words` takes it; a word may be a
whole sentence, and "sil" stands between sentences. Phones are found by the English model of pocketsphinx.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import librosa
import numpy as np

from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech import tts
from udh_core.speech.features import AudioFeatures

if TYPE_CHECKING:
    from pocketsphinx import Decoder

SILENCE = ("sil", "sp")
MARGIN_S = 0.2  # of sound around a sentence that is aligned
PHONE_FRAMES_PER_S = 100  # of pocketsphinx
ESPEAK, FLITE = ("en-us", "en-gb", "en-us+f3"), ("slt", "rms", "awb")  # voices: three and three
GAP_S = 0.3  # of silence between spoken sentences


@dataclass(frozen=True)
class Sentence:
    """What is said from one pause to the next."""

    start_s: float
    end_s: float
    text: str


def read_sentences(table: Path) -> list[Sentence]:
    """Rows of the table, joined from silence to silence."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(float(r["start_s"]), float(r["end_s"]), r["word"]) for r in csv.DictReader(file, delimiter="\t")]
    found, words = [], []
    for row in [*rows, (0.0, 0.0, SILENCE[0])]:
        if row[2] not in SILENCE:
            words.append(row)
        elif row[2] == SILENCE[0] and words:
            found.append(Sentence(words[0][0], words[-1][1], " ".join(word for _, _, word in words)))
            words = []
    return found


# Phones


@dataclass(frozen=True)
class Phone:
    """A speech sound (ARPAbet) and when it is heard."""

    name: str
    start_s: float
    end_s: float


def aligned(waveform: np.ndarray, sentences: list[Sentence]) -> Iterator[Phone]:
    """Phones of the sentences in a waveform (n,) float32 at 16 kHz; a sentence that cannot be aligned has none."""
    for sentence in sentences:
        start_s = max(0.0, sentence.start_s - MARGIN_S)
        part = waveform[round(start_s * SAMPLE_RATE_HZ) : round((sentence.end_s + MARGIN_S) * SAMPLE_RATE_HZ)]
        for name, first, length in _phones(sentence.text, part):
            begin_s = start_s + first / PHONE_FRAMES_PER_S
            yield Phone(name, begin_s, begin_s + length / PHONE_FRAMES_PER_S)


def _phones(text: str, waveform: np.ndarray) -> list[tuple[str, int, int]]:
    """Name, first frame and length; in two passes, the second of which knows where the words are."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE_HZ, lm=None, loglevel="FATAL")
    words = [word for word in re.findall(r"[a-z']+", text.lower()) if decoder.lookup_word(word) is not None]
    samples = (waveform * (16000 / max(float(np.abs(waveform).max()), 1e-6))).astype(np.int16).tobytes()
    decoder.set_align_text(" ".join(words))
    try:
        _decode(decoder, samples)
        decoder.set_alignment()
        _decode(decoder, samples)
    except RuntimeError:  # the sound ends before the words do, or the other way round
        return []
    return [(phone.name, phone.start, phone.duration) for word in decoder.get_alignment() for phone in word]


def _decode(decoder: Decoder, samples: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()


# Synthetic voices


def synthetic_voices() -> dict[str, Callable[[str], np.ndarray]]:
    """By name what makes (n,) float32 at 16 kHz of English text: hibari-tts; espeak-ng and flite where they are."""
    found: dict[str, Callable[[str], np.ndarray]] = {"hibari-tts": tts.speak}
    if program := shutil.which("espeak-ng"):
        found |= {f"espeak-ng {v}": partial(_said, (program, "-v", v, "--stdin", "-w")) for v in ESPEAK}
    if program := shutil.which("flite"):
        found |= {f"flite {v}": partial(_said, (program, "-voice", v, "-f", "/dev/stdin", "-o")) for v in FLITE}
    return found


def _said(command: tuple[str, ...], text: str) -> np.ndarray:
    """What a program says that reads the text and writes the file it is given last."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "spoken.wav"
        subprocess.run([*command, str(path)], input=text.encode(), check=True, capture_output=True)  # noqa: S603
        return load_waveform(path)


def spoken(sentences: list[Sentence], voice: Callable[[str], np.ndarray]) -> np.ndarray:
    """(n,) float32: one sentence after the other."""
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([gap, *[part for sentence in sentences for part in (voice(sentence.text), gap)]])


def same_moments(own: np.ndarray, other: AudioFeatures, rate_hz: float, times_s: np.ndarray) -> np.ndarray:
    """(n,) seconds of another voice's features at which is said what the own voice's say at `times_s` (n,).

    By dynamic time warping of the features of the same words, their means taken out; the own ones (T, D) are at
    `rate_hz`.
    """
    rows = [values - values.mean(0) for values in (own, other.values)]
    path = librosa.sequence.dtw(rows[0].T, rows[1].T, metric="cosine")[1][::-1]
    matched = np.bincount(path[:, 0], path[:, 1]) / np.bincount(path[:, 0])
    return (np.interp(times_s * rate_hz - 0.5, np.arange(len(own)), matched) + 0.5) / other.rate_hz
