"""How far sound and picture of a clip are apart."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar import av_offset
from udh_core.avatar.av_offset import MIN_FRAMES, align_sound, estimate
from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import add_features, import_clip, track_face
from udh_core.errors import FormatError
from udh_core.face.mouth import mouth_opening
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.speech.mel import log_mel

FPS = 25


@pytest.fixture
def copied(real_minute: Path, tmp_path: Path) -> Path:
    """A copy of the real minute whose sound may be changed; the features stay those of the sound before."""
    root = tmp_path / "copy"
    shutil.copytree(real_minute, root)
    return root


def replace_sound(root: Path, sound: np.ndarray) -> None:
    """Write another sound into an avatar, as into one that was prepared before offsets were stored."""
    write_wave(root / "audio.wav", sound)
    change_state(root, lambda state: state.pop("av_offset"))


def change_state(root: Path, change: Callable[[dict], object]) -> None:
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    change(state)
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")


def delayed(root: Path, frames: int) -> np.ndarray:
    return np.roll(load_waveform(root / "audio.wav"), round(frames / FPS * SAMPLE_RATE_HZ))


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
    replace_sound(copied, delayed(copied, frames))
    found = estimate(open_avatar(copied))
    assert found.offset_frames - before == pytest.approx(frames, abs=0.2)
    list(add_features(copied, "whisper-tiny"))
    with caplog.at_level(logging.WARNING):
        data = load_training_data(open_avatar(copied), "whisper-tiny")
    assert data.audio_offset == pytest.approx(frames, abs=1)
    assert (
        f"{'later' if frames > 0 else 'earlier'} than the mouth by {abs(data.audio_offset):.1f} frames" in caplog.text
    )
    heard = data.rows_at(np.array([500])) - (500.5 / FPS * data.rate_hz - 0.5)
    assert heard[0] == pytest.approx(data.audio_offset / FPS * data.rate_hz)


def test_training_listens_where_the_sound_is(copied: Path) -> None:
    """After a delay of ten frames, what training hears with a frame is what it heard before, but for a frame."""
    before = load_training_data(open_avatar(copied), "whisper-tiny")
    rows = np.rint(before.rows_at(np.arange(300, 1200, 50))).astype(int)
    replace_sound(copied, delayed(copied, 10))
    list(add_features(copied, "whisper-tiny"))
    after = load_training_data(open_avatar(copied), "whisper-tiny")
    heard = np.rint(after.rows_at(np.arange(300, 1200, 50))).astype(int)
    assert np.abs(heard - rows - 20).max() <= 2
    assert np.abs(before.spoken[300:1200].mean() - after.spoken[300:1200].mean()) < 0.05


def test_foreign_sound_is_noticed(copied: Path, clips: Path, caplog) -> None:
    speech = load_waveform(clips / "audio/musetalk_eng.wav")
    replace_sound(copied, np.resize(speech, 60 * SAMPLE_RATE_HZ))
    found = estimate(open_avatar(copied))
    assert not found.belongs and not found.certain
    assert found.corrected_frames(FPS) == 0
    list(add_features(copied, "whisper-tiny"))
    with caplog.at_level(logging.WARNING):
        load_training_data(open_avatar(copied), "whisper-tiny")
    assert "does not seem to belong to the picture" in caplog.text


def test_a_short_clip_proves_nothing(real_minute: Path) -> None:
    avatar = open_avatar(real_minute)
    frames = np.arange(MIN_FRAMES // 2)
    opening = mouth_opening(avatar.track().landmarks)[frames]
    found = align_sound(opening, frames, log_mel(load_waveform(avatar.audio), 40), FPS)
    assert found.belongs and not found.certain


def test_preparing_measures_once_and_says_so_once(
    copied: Path,
    clips: Path,
    models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, options = clips / "video/grid_s1_train_5min.mp4", PrepareOptions(128, duration_s=60)
    write_wave(tmp_path / "late.wav", delayed(copied, 10))
    with caplog.at_level(logging.WARNING):
        import_clip(source, copied, options, audio=tmp_path / "late.wav").run()
        avatar = track_face(copied, options, models=models).run()
    assert caplog.text.count("the sound comes later than the mouth by") == 1
    monkeypatch.setattr(av_offset, "load_waveform", None)  # nothing is measured any more
    caplog.clear()
    found = av_offset.of(avatar)
    assert found.corrected_frames(FPS) == pytest.approx(10, abs=1)
    assert caplog.text == ""
    before = (copied / "avatar.json").stat().st_mtime_ns
    track_face(copied, options, models=models).run()
    assert (copied / "avatar.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("stored", [{}, [], {"offset_frames": "2"}, {"offset_frames": float("nan")}, {"certain": 1}])
def test_a_damaged_offset_is_refused(copied: Path, stored: object) -> None:
    whole = {"offset_frames": 0.0, "correlation": 0.5, "certain": True, "belongs": True}
    value = {**whole, **stored} if isinstance(stored, dict) and stored else stored
    change_state(copied, lambda state: state.update(av_offset=value))
    with pytest.raises(FormatError, match=r"avatar\.json is damaged"):
        av_offset.of(open_avatar(copied))
