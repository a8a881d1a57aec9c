"""Wav files whose header does not fit what the file holds: said where sound is missing, read as it is otherwise."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.media.probe import probe
from udh_core.speech.voice import load_voice

WHOLE_S = 4.0
LENGTH_AT = 40  # where the length of the samples stands


def wave(path: Path, length: int | None = None, cut: int = 0, behind: bytes = b"") -> Path:
    """Four seconds of noise; with another length in the header, without its last bytes, with something behind it."""
    write_wave(path, np.random.default_rng(1).normal(0, 0.1, round(WHOLE_S * SAMPLE_RATE_HZ)).astype(np.float32))
    data = bytearray(path.read_bytes())
    if length is not None:
        data[LENGTH_AT : LENGTH_AT + 4] = struct.pack("<I", length)
    path.write_bytes(bytes(data[: len(data) - cut]) + behind)
    return path


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = wave(tmp_path / "cut.wav", cut=3 * SAMPLE_RATE_HZ)
    assert [note.sentence[:33] for note in probe(path).notes] == ["the file holds 1.5 s less than it"]
    assert "damage" in [note.name for note in load_voice(path).notes]


def test_sound_that_the_header_does_not_know_of_is_named(tmp_path: Path) -> None:
    path = wave(tmp_path / "short.wav", length=2 * SAMPLE_RATE_HZ)
    assert [note.sentence[:32] for note in probe(path).notes] == ["the file goes on for 3.0 s after"]


def test_joined_files_are_named(tmp_path: Path) -> None:
    one = wave(tmp_path / "one.wav")
    joined = tmp_path / "joined.wav"
    joined.write_bytes(one.read_bytes() * 2)
    assert [note.name for note in probe(joined).notes] == ["joined recordings"]
    assert "joined recordings" in [note.name for note in load_voice(joined).notes]


@pytest.mark.parametrize(
    ("length", "cut", "behind"),
    [
        (None, 0, b""),
        (None, 1, b""),
        (None, 0, b"LIST\x04\0\0\0abcd"),
        (None, 0, b"bext" + struct.pack("<I", 50000) + b"\0" * 50000),
        (0, 0, b""),
        (0xFFFFFFFF, 0, b""),
        (0x7FFFF000, 0, b""),
    ],
    ids=["whole", "odd", "label", "large label", "0", "4 GB", "2 GB"],
)
def test_what_lacks_nothing_is_not_mentioned(tmp_path: Path, length: int | None, cut: int, behind: bytes) -> None:
    """Also where the writer, such as a speech service, could not know the length beforehand."""
    path = wave(tmp_path / "whole.wav", length, cut, behind)
    assert not probe(path).notes
    assert len(load_waveform(path)) >= WHOLE_S * SAMPLE_RATE_HZ - 1
