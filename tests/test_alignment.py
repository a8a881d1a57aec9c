"""Where somebody speaks, and how far sound and picture of a clip are apart."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from udh_core.alignment import MIN_FRAMES, align_sound, estimate
from udh_core.audio import SAMPLE_RATE_HZ, load_waveform, log_mel, write_wave
from udh_core.avatar import open_avatar
from udh_core.batches import load_training_data
from udh_core.landmarks import mouth_opening
from udh_core.prepare import add_features
from udh_core.voice import levels_db, speech_mask

FPS = 25


@pytest.fixture
def copied(real_minute: Path, tmp_path: Path) -> Path:
    """A copy of the real minute whose sound may be changed; the features stay those of the sound before."""
    root = tmp_path / "copy"
    shutil.copytree(real_minute, root)
    return root


def delay(root: Path, frames: int) -> None:
    sound = load_waveform(root / "audio.wav")
    write_wave(root / "audio.wav", np.roll(sound, round(frames / FPS * SAMPLE_RATE_HZ)))


def test_a_clip_in_step_is_left_alone(real_minute: Path, figure) -> None:
    found = estimate(open_avatar(real_minute))
    figure(
        f"sound against mouth of a real minute: {found.offset_frames:+.2f} frames, correlation {found.correlation:.2f}"
    )
    assert found.certain and found.belongs
    assert abs(found.offset_frames) < 1
    assert found.corrected_frames(FPS) == 0
    assert found.describe(FPS) == ""


@pytest.mark.parametrize("frames", [-7, 3, 10])
def test_delayed_sound_is_found_and_set_right(copied: Path, frames: int, caplog) -> None:
    before = estimate(open_avatar(copied)).offset_frames
    delay(copied, frames)
    found = estimate(open_avatar(copied))
    assert found.offset_frames - before == pytest.approx(frames, abs=0.2)
    with caplog.at_level(logging.WARNING):
        data = load_training_data(open_avatar(copied), "whisper-tiny")
    assert data.shift == pytest.approx(frames, abs=1)
    assert f"{'later' if frames > 0 else 'earlier'} than the mouth by {abs(data.shift):.1f} frames" in caplog.text
    heard = data.rows_at(np.array([500])) - (500.5 / FPS * data.rate_hz - 0.5)
    assert heard[0] == pytest.approx(data.shift / FPS * data.rate_hz)


def test_training_listens_where_the_sound_is(copied: Path) -> None:
    """After a delay of ten frames, what training hears with a frame is what it heard before, but for a frame."""
    before = load_training_data(open_avatar(copied), "whisper-tiny")
    rows = np.rint(before.rows_at(np.arange(300, 1200, 50))).astype(int)
    delay(copied, 10)
    list(add_features(copied, "whisper-tiny"))
    after = load_training_data(open_avatar(copied), "whisper-tiny")
    heard = np.rint(after.rows_at(np.arange(300, 1200, 50))).astype(int)
    assert np.abs(heard - rows - 20).max() <= 2
    assert np.abs(before.spoken[300:1200].mean() - after.spoken[300:1200].mean()) < 0.05


def test_foreign_sound_is_noticed(copied: Path, clips: Path, caplog) -> None:
    speech = load_waveform(clips / "audio/musetalk_eng.wav")
    write_wave(copied / "audio.wav", np.resize(speech, 60 * SAMPLE_RATE_HZ))
    found = estimate(open_avatar(copied))
    assert not found.belongs and not found.certain
    assert found.corrected_frames(FPS) == 0
    with caplog.at_level(logging.WARNING):
        load_training_data(open_avatar(copied), "whisper-tiny")
    assert "does not seem to belong to the picture" in caplog.text


def test_a_short_clip_proves_nothing(real_minute: Path) -> None:
    avatar = open_avatar(real_minute)
    frames = np.arange(MIN_FRAMES // 2)
    opening = mouth_opening(avatar.track().landmarks)[frames]
    found = align_sound(opening, frames, log_mel(load_waveform(avatar.audio), 40), FPS)
    assert found.belongs and not found.certain


# Where somebody speaks


def test_speech_is_where_the_words_are(clips: Path) -> None:
    """Against the word times that come with the clip; its room hums between the words."""
    waveform = load_waveform(clips / "video/grid_s1_train_5min.mp4", duration_s=60)
    times_s = np.arange(0.01, 60, 0.02)
    truth = np.zeros(len(times_s), bool)
    with (clips / "video/grid_s1_train_5min.words.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["word"] not in ("sil", "sp"):
                truth |= (times_s >= float(row["start_s"])) & (times_s < float(row["end_s"]))
    assert (speech_mask(waveform, times_s) == truth).mean() > 0.85


def test_nobody_speaks_in_silence_and_a_level_is_a_level() -> None:
    silence = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    assert not speech_mask(silence, np.arange(0, 2, 0.1)).any()
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    assert np.median(levels_db(tone)) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)


def test_a_short_pause_belongs_to_the_speech() -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, 4 * SAMPLE_RATE_HZ).astype(np.float32)
    sound[16000:17600] = 0  # 0.1 s
    sound[32000:48000] = 0  # 1 s
    assert speech_mask(sound, np.array([0.5, 1.05, 1.5, 2.5, 3.5])).tolist() == [True, True, True, False, True]
