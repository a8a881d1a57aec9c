"""Where somebody speaks: in quiet and in noise, from near and far; and where nobody does, whatever else is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sounds import COLOURS, coloured_noise, in_room, music, whispered
from benchmarks.vad import GRID, WORDS, in_background, times_of, word_mask
from udh_core.errors import WeightsError
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech import activity
from udh_core.speech.activity import levels_db, speech_mask, speech_probability

LENGTH = 20 * SAMPLE_RATE_HZ
BACKGROUNDS = (*COLOURS, "music")


def background(name: str, count: int = LENGTH) -> np.ndarray:
    """Of standard deviation 1."""
    return music(count) if name == "music" else coloured_noise(count, name)


def glide() -> np.ndarray:
    """Two seconds of a buzz that rises and falls three times."""
    times_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(3 * np.pi * times_s)) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.1 * buzz * (0.2 + np.sin(3 * np.pi * times_s) ** 2)).astype(np.float32)


@pytest.fixture(scope="module")
def grid(clips: Path) -> tuple[np.ndarray, np.ndarray]:
    """A minute of sentences, and the frames with words."""
    waveform = load_waveform(clips / GRID, duration_s=60)
    return waveform, word_mask(clips / WORDS, times_of(waveform))


@pytest.fixture(scope="module")
def voice(clips: Path) -> np.ndarray:
    """Eleven seconds without a pause."""
    return load_waveform(clips / "audio" / "piper_joe.wav")


def agreement(waveform: np.ndarray, spoken: np.ndarray) -> float:
    return float((speech_mask(waveform, times_of(waveform)) == spoken).mean())


# Where nobody speaks


@pytest.mark.parametrize("level_db", [-65, -40, -20, -6])
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_noise_and_music_are_no_speech(models: Path, name: str, level_db: float) -> None:
    sound = background(name) * np.float32(10 ** (level_db / 20))
    assert speech_mask(sound, times_of(sound)).mean() < 0.01


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 32000])
def test_nobody_speaks_in_silence(models: Path, length: int) -> None:
    silence = np.zeros(length, np.float32)
    assert len(speech_probability(silence)) == -(-length // 512)
    assert not speech_mask(silence, np.arange(0, 2, 0.1)).any()


def test_a_level_is_a_level() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    assert np.median(levels_db(tone)) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)


# Where somebody does


def test_speech_is_where_the_words_are(grid: tuple[np.ndarray, np.ndarray]) -> None:
    """Against the word times that come with the clip; its room hums between the words."""
    assert agreement(*grid) > 0.95


@pytest.mark.parametrize(("snr_db", "least"), [(10, 0.9), (5, 0.88)])
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_words_are_found_in_noise_and_music(
    grid: tuple[np.ndarray, np.ndarray], name: str, snr_db: float, least: float
) -> None:
    waveform, spoken = grid
    noisy = in_background(waveform, spoken, background(name, len(waveform)), snr_db)
    assert agreement(noisy, spoken) > least


@pytest.mark.parametrize("snr_db", [10, 5])
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_another_voice_is_found_in_noise_and_music(models: Path, voice: np.ndarray, name: str, snr_db: float) -> None:
    everywhere = np.ones(len(times_of(voice)), bool)
    noisy = in_background(voice, everywhere, background(name, len(voice)), snr_db)
    assert speech_mask(noisy, times_of(voice)).mean() > 0.8


@pytest.mark.parametrize("quieter_db", [0, 30, 50])
@pytest.mark.parametrize("how", ["near", "far", "whispered"])
def test_quiet_far_and_whispered_words_are_found(
    grid: tuple[np.ndarray, np.ndarray], how: str, quieter_db: float
) -> None:
    waveform, spoken = grid
    changes = {"near": lambda w: w, "far": lambda w: in_room(w, 0.8, -6.0), "whispered": whispered}
    quiet = changes[how](waveform) * np.float32(10 ** (-quieter_db / 20))
    assert agreement(quiet, spoken) > 0.9


def test_a_short_pause_belongs_to_the_speech(models: Path, voice: np.ndarray) -> None:
    sound = voice[: 4 * SAMPLE_RATE_HZ].copy()
    sound[16000:17600] = 0  # 0.1 s
    sound[32000:48000] = 0  # 1 s
    assert speech_mask(sound, np.array([0.5, 1.05, 1.5, 2.5, 3.5])).tolist() == [True, True, True, False, True]


def test_pauses_of_fast_speech_are_none(models: Path, clips: Path) -> None:
    """The network alone takes them for speech; between them somebody speaks without a pause."""
    waveform = load_waveform(clips / "audio" / "sadtalker_RD_Radio31_000.wav")
    assert not speech_mask(waveform, np.array([2.75, 2.85, 6.0, 6.1])).any()
    assert speech_mask(waveform, np.arange(3.2, 5.6, 0.04)).all()


# The network


def test_network_gives_what_the_published_one_does(models: Path) -> None:
    """Every fifth of what silero_vad.onnx of the wheel gives for the same sound."""
    published = [
        0.057112,
        0.031226,
        0.006556,
        0.047479,
        0.010288,
        0.009653,
        0.004900,
        0.306868,
        0.045735,
        0.027119,
        0.009996,
        0.008354,
        0.001921,
    ]
    np.testing.assert_allclose(speech_probability(glide())[::5], published, atol=1e-4)


def test_blocks_give_what_the_whole_does(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.concatenate([glide(), 0.05 * coloured_noise(16000, "pink"), glide()])
    whole = speech_probability(sound)
    monkeypatch.setattr(activity, "BLOCK_CHUNKS", 7)
    np.testing.assert_allclose(speech_probability(sound), whole, atol=1e-5)
    assert whole.max() - whole.min() > 0.1


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"silero_vad\.safetensors is not in .*: run `udh weights fetch`"):
        speech_mask(glide(), np.array([1.0]), models=tmp_path)
