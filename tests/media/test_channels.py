"""Channels that do not go together: the words stay as loud and as clear as in the best of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udh_core.media.audio import SAMPLE_RATE_HZ, load_sound, load_waveform, plain_sound, write_wave
from udh_core.media.channels import described, fold, to_stereo
from udh_core.media.ffmpeg import run, url

STEREO = ("FL", "FR")
SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR")


@pytest.fixture(scope="module")
def voice(clips: Path) -> np.ndarray:
    """Six seconds of speech, at half of full scale."""
    waveform = load_waveform(clips / "audio" / "piper_joe.wav", duration_s=6)
    return 0.5 * waveform / np.abs(waveform).max()


def noise(count: int, level: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, count).astype(np.float32)


def delayed(waveform: np.ndarray, milliseconds: float) -> np.ndarray:
    count = round(milliseconds / 1000 * SAMPLE_RATE_HZ)
    return np.concatenate([np.zeros(count, np.float32), waveform[: len(waveform) - count]])


def folded(*channels: np.ndarray, names: tuple[str, ...] = STEREO) -> tuple[np.ndarray, str]:
    return fold(np.stack(channels, axis=1).astype(np.float32), names, SAMPLE_RATE_HZ)


def inverted_from(waveform: np.ndarray, start_s: float) -> np.ndarray:
    sign = np.where(np.arange(len(waveform)) < start_s * SAMPLE_RATE_HZ, 1, -1)
    return waveform * sign


@pytest.mark.parametrize(
    ("gain", "start_s"), [(1.0, 0.0), (0.6, 0.0), (1.0, 4.0)], ids=["all", "all and quieter", "the last third"]
)
def test_an_inverted_channel_is_not_used(voice: np.ndarray, gain: float, start_s: float) -> None:
    waveform, remark = folded(voice, gain * inverted_from(voice, start_s))
    np.testing.assert_array_equal(waveform, voice)
    assert "the right channel is the left channel inverted" in remark
    assert "only the left channel is used" in remark


@pytest.mark.parametrize("milliseconds", [1, 10, 60])
def test_of_a_channel_and_its_later_copy_the_earlier_is_used(voice: np.ndarray, milliseconds: float) -> None:
    late = 0.9 * delayed(voice, milliseconds)
    waveform, remark = folded(voice, late)
    np.testing.assert_array_equal(waveform, voice)
    assert f"the right channel comes {milliseconds} ms later than the left channel; only the left" in remark
    np.testing.assert_array_equal(folded(late, voice)[0], voice)


@pytest.mark.parametrize("level", [0.0, 0.001])
def test_beside_a_silent_channel_the_level_is_kept(voice: np.ndarray, level: float) -> None:
    for channels in ((voice, noise(len(voice), level)), (noise(len(voice), level), voice)):
        waveform, remark = folded(*channels)
        np.testing.assert_array_equal(waveform, voice)
        assert remark == ""


def test_channels_that_go_together_are_averaged(voice: np.ndarray) -> None:
    assert np.abs(folded(voice, voice)[0] - voice).max() < 1e-6
    in_a_room = voice + noise(len(voice), 0.02), 0.7 * voice + delayed(0.2 * voice, 23)
    for left, right in (in_a_room, (voice, noise(len(voice), 0.1))):
        waveform, remark = folded(left, right)
        np.testing.assert_allclose(waveform, (left + right) / 2, atol=1e-6)
        assert remark == ""


def test_surround_with_the_centre_only_is_the_centre(voice: np.ndarray) -> None:
    silent = np.zeros_like(voice)
    rumble = 0.3 * np.sin(2 * np.pi * 40 * np.arange(len(voice)) / SAMPLE_RATE_HZ)
    for low in (silent, rumble):
        waveform, remark = folded(silent, silent, voice, low, silent, silent, names=SURROUND)
        np.testing.assert_array_equal(waveform, voice)
        assert remark == ""


def test_full_scale_is_not_exceeded() -> None:
    loud = np.ones(16000, np.float32)
    assert folded(*[loud] * 6, names=SURROUND)[0].max() <= 1.0
    assert to_stereo(np.stack([loud] * 6, axis=1), SURROUND).max() <= 1.0


def test_stereo_of_surround_keeps_the_sides() -> None:
    rows = np.eye(6, dtype=np.float32)
    left, right = to_stereo(rows, SURROUND).T
    assert (left > 0).tolist() == [True, False, True, False, True, False]
    assert (right > 0).tolist() == [False, True, True, False, False, True]


@pytest.mark.parametrize("length", [1, 100, 1600])
def test_short_and_silent_sounds_are_folded(length: int) -> None:
    for channels in ((np.zeros(length), np.zeros(length)), (noise(length, 0.1), noise(length, 0.1))):
        waveform, remark = folded(*channels)
        assert len(waveform) == length
        assert remark == ""


def test_channels_without_a_name_are_called_by_their_number(voice: np.ndarray) -> None:
    _, remark = folded(voice, -voice, names=("1", "7"))
    assert remark == "channel 7 is channel 1 inverted, so that their sum is silence; only channel 1 is used"
    assert described(("1", "FL", "7"), [0, 2]) == "the channels 1 and 7"
    assert described(("FL", "SL"), [1]) == "the SL channel"


# From files


@pytest.mark.parametrize(
    ("pan", "codec"),
    [
        ("stereo|c0=c0|c1=-1*c0", "pcm_s16le"),
        ("stereo|c0=c0|c1=0*c0", "aac"),
        ("5.1|FC=c0", "ac3"),
        ("5.1|FC=c0", "flac"),
    ],
)
def test_files_give_the_level_of_the_channel_with_the_words(
    voice: np.ndarray, tmp_path: Path, pan: str, codec: str
) -> None:
    write_wave(tmp_path / "a.wav", voice)
    run(["-i", url(tmp_path / "a.wav"), "-af", f"pan={pan}", "-c:a", codec, url(tmp_path / "b.mka")], "test")
    level = load_waveform(tmp_path / "b.mka").std() / voice.std()
    assert level == pytest.approx(1.0, abs=0.1)


def test_mono_as_stereo_is_as_loud(voice: np.ndarray, tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", voice)
    samples, rate_hz = load_sound(tmp_path / "a.wav")
    assert (samples.shape, rate_hz) == ((len(voice), 2), SAMPLE_RATE_HZ)
    assert np.abs(samples - voice[:, None]).max() < 1e-4


@pytest.mark.parametrize("speaker", ["FC", "BL", "LFE", None], ids=["centre", "behind", "subwoofer too", "unnamed"])
def test_one_loud_channel_of_many_is_as_loud_in_stereo(voice: np.ndarray, tmp_path: Path, speaker: str | None) -> None:
    write_wave(tmp_path / "a.wav", voice)
    pans = {"FC": "5.1|FC=c0", "BL": "5.1|BL=c0", "LFE": "5.1|FC=c0|LFE=0.3*c0", None: "8c|c6=c0"}
    run(
        ["-i", url(tmp_path / "a.wav"), "-af", f"pan={pans[speaker]}", "-c:a", "pcm_s16le", url(tmp_path / "b.wav")], ""
    )
    with plain_sound(tmp_path / "b.wav") as plain:
        for samples in (load_sound(tmp_path / "b.wav")[0], load_sound(plain)[0]):
            assert samples[:, 0].std() == pytest.approx(voice.std(), rel=0.1)
