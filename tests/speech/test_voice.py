"""Of several channels and sound tracks, those with speech are taken, and the choice is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sounds import coloured_noise, music
from udh_core.errors import OptionError
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.speech.activity import speech_share
from udh_core.speech.voice import Voice, load_voice, log_notes

SECONDS = 8
COUNT = SECONDS * SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def speech(clips: Path, models: Path) -> np.ndarray:
    waveform = load_waveform(clips / "audio" / "piper_joe.wav", duration_s=SECONDS)
    return 0.5 * waveform / np.abs(waveform).max()


@pytest.fixture(scope="module")
def tune() -> np.ndarray:
    sound = music(COUNT).astype(np.float32)
    return 0.5 * sound / np.abs(sound).max()


def voice_of(path: Path, *channels: np.ndarray) -> tuple[np.ndarray, str]:
    write_wave(path, np.stack(channels, axis=1))
    found = load_voice(path)
    return found.waveform, sentences(found)


def sentences(voice: Voice) -> str:
    return " ".join(note.sentence for note in voice.notes)


def similar(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


# Channels


@pytest.mark.parametrize("gain", [1.0, 0.02], ids=["as loud as the music", "much quieter than it"])
@pytest.mark.parametrize("side", [0, 1])
def test_speech_on_one_side_and_music_on_the_other(
    speech: np.ndarray, tune: np.ndarray, tmp_path: Path, side: int, gain: float
) -> None:
    sides = [tune, tune]
    sides[side] = gain * speech
    waveform, remark = voice_of(tmp_path / "a.wav", *sides)
    assert similar(waveform, speech) > 0.99
    words = ("left", "right")
    assert f"speech is on the {words[side]} channel only; the {words[1 - side]} channel is not used" in remark


def test_speech_in_the_centre_and_music_around(speech: np.ndarray, tune: np.ndarray, tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.stack([speech, tune], axis=1))
    surround = "pan=5.1|FL=c1|FR=c1|FC=c0|BL=0.5*c1|BR=0.5*c1"
    run(["-i", url(tmp_path / "a.wav"), "-af", surround, "-c:a", "flac", url(tmp_path / "b.mka")], "test")
    found = load_voice(tmp_path / "b.mka")
    assert similar(found.waveform, speech) > 0.99
    assert "speech is on the centre channel only" in sentences(found)


@pytest.mark.parametrize("gain", [1.0, 0.1], ids=["speech", "faint speech"])
def test_an_offset_is_taken_away(speech: np.ndarray, tmp_path: Path, gain: float) -> None:
    """Beside it no pause would be silent: the mouth would never rest."""
    waveform, remark = voice_of(tmp_path / "a.wav", gain * speech + 0.4)
    assert np.abs(waveform - gain * speech).max() < 2e-3
    assert "DC offset" in remark
    assert "offset" not in voice_of(tmp_path / "b.wav", gain * speech)[1]


@pytest.mark.parametrize("recorded", [lambda x: np.clip(12 * x, -1, 0.2), lambda x: np.maximum(x, 0)])
def test_what_is_clipped_on_one_side_has_no_offset(speech: np.ndarray, tmp_path: Path, recorded: Callable) -> None:
    waveform, remark = voice_of(tmp_path / "a.wav", recorded(speech))
    assert remark == "" and np.abs(waveform - recorded(speech)).max() < 1e-3


def test_what_is_louder_than_full_scale_is_not_cut_off(speech: np.ndarray, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", 16 * speech, SAMPLE_RATE_HZ, subtype="FLOAT")
    found = load_voice(tmp_path / "a.wav")
    assert similar(found.waveform, speech) > 0.999
    assert "up to 8.0 times full scale" in sentences(found)


def test_a_channel_with_nothing_but_an_offset_is_silent(speech: np.ndarray, tmp_path: Path) -> None:
    waveform, remark = voice_of(tmp_path / "a.wav", np.full(COUNT, 0.5, np.float32), 0.1 * speech)
    assert similar(waveform, speech) > 0.99 and waveform.std() == pytest.approx(0.1 * speech.std(), rel=0.01)
    assert "DC offset" in remark


def test_two_people_on_two_channels_are_both_kept(speech: np.ndarray, tmp_path: Path) -> None:
    half = COUNT // 2
    first, second = speech.copy(), np.roll(speech, half)
    first[half:] = 0
    second[:half] = 0
    waveform, remark = voice_of(tmp_path / "a.wav", first, second)
    assert similar(waveform, first + second) > 0.99
    assert remark == ""


def test_an_inverted_channel_is_said(speech: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waveform, remark = voice_of(tmp_path / "anti.wav", speech, -speech)
    assert similar(waveform, speech) > 0.99
    assert "inverted" in remark
    log_notes(Path("anti.wav"), load_voice(tmp_path / "anti.wav"))
    assert "anti.wav: the right channel is the left channel inverted" in caplog.text


def test_without_speech_all_channels_are_kept(tune: np.ndarray, models: Path, tmp_path: Path) -> None:
    hiss = 0.1 * coloured_noise(COUNT, "white").astype(np.float32)
    waveform, remark = voice_of(tmp_path / "a.wav", tune, hiss)
    assert similar(waveform, tune + hiss) > 0.99
    assert remark == ""


# Tracks


def tracks(folder: Path, *sounds: np.ndarray) -> Path:
    """A file with these sounds as tracks."""
    inputs, maps = [], []
    for number, sound in enumerate(sounds):
        write_wave(folder / f"{number}.wav", sound)
        inputs += ["-i", url(folder / f"{number}.wav")]
        maps += ["-map", str(number)]
    run([*inputs, *maps, "-c:a", "flac", url(folder / "tracks.mka")], "test")
    return folder / "tracks.mka"


def test_the_track_with_speech_is_taken(speech: np.ndarray, tune: np.ndarray, tmp_path: Path) -> None:
    path = tracks(tmp_path, tune, speech, np.zeros(COUNT, np.float32))
    found = load_voice(path)
    assert found.track == 2
    assert similar(found.waveform, speech) > 0.99
    assert "of 3 sound tracks 2 is taken, the one with speech; `audio_track` chooses another" in sentences(found)


def test_of_two_tracks_with_speech_the_first_is_taken(speech: np.ndarray, tmp_path: Path) -> None:
    path = tracks(tmp_path, speech, np.roll(speech, 16000))
    found = load_voice(path)
    assert found.track == 1
    assert "of 2 sound tracks 1 is taken" in sentences(found)


def test_without_speech_the_first_track_is_taken(tune: np.ndarray, models: Path, tmp_path: Path) -> None:
    found = load_voice(tracks(tmp_path, tune, tune[::-1]))
    assert found.track == 1
    assert "there is no speech in any" in sentences(found)


def test_a_track_can_be_chosen(speech: np.ndarray, tune: np.ndarray, tmp_path: Path) -> None:
    path = tracks(tmp_path, tune, speech)
    found = load_voice(path, track=1)
    assert found.track == 1 and found.notes == ()
    assert similar(found.waveform, tune) > 0.99
    with pytest.raises(OptionError, match=r"`audio_track` = 3: choose 1 or 2, the sound tracks of .*tracks\.mka"):
        load_voice(path, track=3)


# What is speech


def hum(hz: float) -> np.ndarray:
    times_s = np.arange(COUNT) / SAMPLE_RATE_HZ
    return sum(np.sin(2 * np.pi * hz * k * times_s) / k for k in (1, 2, 3, 5)).astype(np.float32)


def clicks() -> np.ndarray:
    waveform = np.zeros(COUNT, np.float32)
    waveform[::7777] = 1.0
    return waveform


@pytest.mark.parametrize("level_db", [-60, -12])
@pytest.mark.parametrize("name", ["silence", "hum 50", "hum 60", "tone", "clicks", "white", "pink", "music"])
def test_what_is_no_speech(models: Path, tune: np.ndarray, name: str, level_db: float) -> None:
    sounds = {
        "silence": lambda: np.zeros(COUNT, np.float32),
        "hum 50": lambda: hum(50),
        "hum 60": lambda: hum(60),
        "tone": lambda: hum(440),
        "clicks": clicks,
        "white": lambda: coloured_noise(COUNT, "white"),
        "pink": lambda: coloured_noise(COUNT, "pink"),
        "music": lambda: tune,
    }
    sound = sounds[name]()
    sound = sound / max(float(np.abs(sound).max()), 1e-9) * 10 ** (level_db / 20)
    assert speech_share(sound.astype(np.float32)) == 0.0


def test_a_few_words_are_speech(speech: np.ndarray) -> None:
    assert speech_share(speech) > 0.7
    assert speech_share(speech[:8000]) > 0.0
    pause = np.zeros(60 * SAMPLE_RATE_HZ, np.float32)
    assert speech_share(np.concatenate([pause, speech[:24000], pause])) > 0.0


def test_speech_between_the_excerpts_of_a_long_recording_is_found(speech: np.ndarray) -> None:
    long = np.zeros(400 * SAMPLE_RATE_HZ, np.float32)
    first = 8 * SAMPLE_RATE_HZ  # the excerpts begin every 20 s and last 6 s
    long[first : first + COUNT] = speech
    assert 0.0 < speech_share(long) < 0.05
