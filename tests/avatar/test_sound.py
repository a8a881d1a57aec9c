"""The sound of an avatar: which of several was taken is noted, and a sound without speech is said at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udh_core.audit.audio import audio_findings
from udh_core.avatar.folder import Avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip
from udh_core.errors import OptionError
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.speech.activity import speech_share

OPTIONS = PrepareOptions(160)


@pytest.fixture(scope="module")
def speech(person: Path) -> np.ndarray:
    return load_waveform(person / "speech.wav", duration_s=6)


@pytest.fixture
def two_tracks(person: Path, tmp_path: Path, speech: np.ndarray) -> Path:
    """The built-in person's clip with a hum as its first sound track, speech as its second."""
    write_wave(tmp_path / "hum.wav", 0.3 * np.sin(2 * np.pi * 50 * np.arange(len(speech)) / SAMPLE_RATE_HZ))
    inputs = [url(person / "person.mp4"), url(tmp_path / "hum.wav"), url(person / "speech.wav")]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-t", "6", "-c:v", "copy", "-c:a", "flac"]
    run([*(word for name in inputs for word in ("-i", name)), *maps, url(tmp_path / "two.mkv")], "test")
    return tmp_path / "two.mkv"


def imported(source: Path, root: Path, options: PrepareOptions = OPTIONS, audio: Path | None = None) -> Avatar:
    return import_clip(source, root, options, audio=audio).run()


def test_an_inverted_channel_is_noted_and_found_by_the_audit(
    person: Path, models: Path, tmp_path: Path, speech: np.ndarray
) -> None:
    write_wave(tmp_path / "anti.wav", np.stack([speech, -speech], axis=1))
    avatar = imported(person / "person.mp4", tmp_path / "avatar", audio=tmp_path / "anti.wav")
    assert np.abs(load_waveform(avatar.audio) - speech).max() < 1e-3
    (note,) = avatar.notes()
    assert note.serious
    assert "the right channel is the left channel inverted" in note.sentence


def test_plain_sound_has_nothing_to_note(person: Path, models: Path, tmp_path: Path) -> None:
    avatar = imported(person / "person.mp4", tmp_path / "avatar")
    assert avatar.notes() == ()
    assert avatar.audio_track() == 1


def test_the_track_with_speech_is_taken_or_the_chosen_one(two_tracks: Path, models: Path, tmp_path: Path) -> None:
    avatar = imported(two_tracks, tmp_path / "avatar")
    assert speech_share(load_waveform(avatar.audio)) > 0.2
    assert "of 2 sound tracks 2 is taken" in avatar.notes()[0].sentence
    assert avatar.audio_track() == 2
    chosen = imported(two_tracks, tmp_path / "avatar", PrepareOptions(160, audio_track=1))
    assert speech_share(load_waveform(chosen.audio)) == 0
    assert [note.name for note in chosen.notes()] == ["no speech"]
    with pytest.raises(OptionError, match="`audio_track` = 3: choose 1 or 2"):
        imported(two_tracks, tmp_path / "avatar", PrepareOptions(160, audio_track=3))


def test_sound_without_speech_is_noted(person: Path, models: Path, tmp_path: Path) -> None:
    sound = tmp_path / "noise.wav"
    write_wave(sound, np.random.default_rng(0).normal(0, 0.1, 6 * SAMPLE_RATE_HZ))
    avatar = imported(person / "person.mp4", tmp_path / "avatar", audio=sound)
    (note,) = avatar.notes()
    assert note.sentence.startswith(f"there is no speech in {sound}; training will refuse it")


def test_the_audit_is_red_without_speech() -> None:
    findings = audio_findings(np.zeros(10 * SAMPLE_RATE_HZ, np.float32), np.zeros(250, bool), 25.0)
    (silence,) = (finding for finding in findings if finding.name == "silence")
    assert silence.level == "red"
    assert silence.sentence.startswith("there is no speech in the sound; give the clip's own speech")
