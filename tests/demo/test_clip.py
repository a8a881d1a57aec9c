"""The built-in person: repeatable, driven by sound alone, and readable by the landmark detector on every frame."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from udh_core.demo.clip import make_clip, mouth_for
from udh_core.demo.puppet import MAX_OPENING, Pose, Puppet
from udh_core.demo.sentences import NEW_SPEECH, passages
from udh_core.errors import FileError, OptionError, UdhError
from udh_core.face.mouth import mouth_opening
from udh_core.face.tracking import detect
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.media.probe import probe
from udh_core.media.video import read_frames
from udh_core.speech.tts import speak
from udh_core.weights.registry import fetch_weights

FPS = Fraction(25)
SECONDS = 8.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("person")
    making = make_clip(folder, seconds=SECONDS, seed=3)
    fractions = [step.fraction for step in making]
    assert making.result == folder / "person.mp4"
    assert fractions[-1] == 1.0
    assert all(a < b for a, b in pairwise(fractions))
    return folder


@pytest.fixture(scope="module")
def truth(clip: Path) -> dict[str, np.ndarray]:
    with np.load(clip / "truth.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return Puppet(512)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_files_agree_in_length(clip: Path, truth: dict[str, np.ndarray]) -> None:
    info = probe(clip / "person.mp4")
    assert info.video is not None
    assert (info.video.width, info.video.height, info.video.fps) == (512, 512, FPS)
    assert info.has_audio
    frames = int(SECONDS * FPS)
    assert info.video.frame_count == frames
    assert len(load_waveform(clip / "speech.wav")) == int(SECONDS * SAMPLE_RATE_HZ)
    assert truth["fps"].tolist() == [25, 1]
    assert {len(rows) for name, rows in truth.items() if name != "fps"} == {frames}


def test_the_mouth_moves_strongly_and_rests(truth: dict[str, np.ndarray]) -> None:
    opening = truth["opening"]
    assert opening.dtype == np.float32
    assert opening.min() >= 0
    assert opening.max() > 0.75 * MAX_OPENING
    assert opening.std() > 0.05
    assert 0.1 < (opening < 0.01).mean() < 0.5
    assert np.ptp(truth["width"]) > 0.12
    assert 2 <= (np.diff((truth["blink"] > 0.5).astype(int)) == 1).sum() <= 4


def test_truth_is_a_function_of_the_sound(clip: Path, truth: dict[str, np.ndarray]) -> None:
    waveform = load_waveform(clip / "speech.wav")
    count = len(truth["opening"])
    assert np.abs(mouth_for(waveform, count, FPS).opening - truth["opening"]).max() < 2e-3
    quieter = mouth_for(0.25 * waveform, count, FPS)
    assert np.abs(quieter.opening - truth["opening"]).max() < 2e-3  # loudness does not matter
    late = np.concatenate([np.zeros(4 * 640, np.float32), waveform])  # four frames
    assert np.abs(mouth_for(late, count, FPS).opening[4:] - truth["opening"][:-4]).max() < 0.02
    assert abs(correlation(mouth_for(speak(NEW_SPEECH[0]), count, FPS).opening, truth["opening"])) < 0.4


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_shuts_the_mouth(level: float) -> None:
    hum = level * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_HZ).astype(np.float32)
    assert mouth_for(hum, 50, FPS).opening.max() < 0.01


def test_vowels_shape_the_mouth() -> None:
    """A wide open "ah", a spread "ee", a rounded "oo" or "l"."""

    def loudest(text: str) -> tuple[float, float]:
        waveform = speak(text)
        mouth = mouth_for(waveform, len(waveform) // 640, FPS)
        return float(np.percentile(mouth.opening, 80)), float(np.median(mouth.width[mouth.opening > 0.03]))

    (ah, _), (ee, spread), (oo, rounded) = (loudest(t) for t in ("Far, far, far.", "He sees me.", "Whole, pool, wool."))
    assert ah > 1.3 * max(ee, oo)
    assert spread > rounded + 0.15


def test_the_same_seed_makes_the_same_clip(clip: Path, tmp_path: Path, truth: dict[str, np.ndarray]) -> None:
    for seed in (3, 4):
        for _ in make_clip(tmp_path / str(seed), seconds=2.0, seed=seed):
            pass
    again = [np.load(tmp_path / name / "truth.npz")["shift_x"] for name in "34"]
    assert np.array_equal(again[0], truth["shift_x"][:50])
    assert not np.array_equal(again[1], again[0])
    for _ in make_clip(tmp_path / "again", seconds=2.0, seed=3):
        pass
    first, second = ((tmp_path / name / "person.mp4").read_bytes() for name in ("3", "again"))
    assert first == second


def test_passages_do_not_repeat_and_suffice() -> None:
    sentences = passages(0, 180.0)
    assert len(set(sentences)) == len(sentences)
    assert sum(map(len, sentences)) > 180 * 13
    assert not set(sentences) & set(NEW_SPEECH)
    assert passages(0, 30.0) == sentences[: len(passages(0, 30.0))]
    assert passages(1, 180.0) != sentences


def test_opening_moves_lips_and_jaw_only(puppet: Puppet) -> None:
    shut, wide = puppet.draw(Pose()), puppet.draw(Pose(opening=MAX_OPENING))
    changed = np.abs(shut.astype(int) - wide).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    assert 200 < rows.min() < rows.max() < 440
    assert 110 < columns.min() < columns.max() < 400
    dark = [(frame[300:380, 215:300].max(axis=2) < 60).sum() for frame in (shut, wide)]
    assert dark[0] < 20  # px of cavity
    assert dark[1] > 500


def test_blink_and_head_motion_leave_the_frame_edges(puppet: Puppet) -> None:
    still = puppet.draw(Pose()).astype(int)
    moved = puppet.draw(Pose(blink=1.0, shift_x=6, shift_y=-6, roll_deg=3, scale=1.02)).astype(int)
    assert np.abs(still - moved).max() > 50
    for edge in (np.s_[:, :2], np.s_[:, -2:], np.s_[-2:]):
        assert np.abs(still[edge] - moved[edge]).max() <= 1


def test_the_detector_reads_the_true_opening(clip: Path, truth: dict[str, np.ndarray]) -> None:
    names = ("face_detection_short_range.tflite", "face_landmark.tflite", "face_recognition.safetensors")
    fetch_weights(names).run()
    found = [face.landmarks for face in detect(read_frames(clip / "person.mp4"))]
    landmarks = np.stack([points for points in found if points is not None])
    assert len(landmarks) == len(truth["opening"])
    assert correlation(mouth_opening(landmarks), truth["opening"]) > 0.95


def test_bad_requests_are_one_line_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="at least one second"):
        next(make_clip(tmp_path, seconds=0.2))
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot make the folder"):
        next(make_clip(tmp_path / "file", seconds=2))
    with pytest.raises(OptionError, match="nothing to say"):
        speak(" ")
    with pytest.raises(OptionError, match="nobody"):
        speak("Hello.", voice="nobody")
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(UdhError, match="pip install hibari-tts"):
        speak("Hello.", voice="fenrir")


def test_a_clip_given_up_leaves_no_video(tmp_path: Path) -> None:
    making = make_clip(tmp_path, seconds=2.0, text=["Hello there, how are you?"])
    next(making)
    making.close()
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]
