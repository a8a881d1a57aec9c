"""From a video and a voice to a lip-synced video: the command line end to end, judged against known truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.demo.clip import make_clip, mouth_for
from udh_core.demo.sentences import NEW_SPEECH
from udh_core.face.mouth import mouth_opening
from udh_core.face.tracking import detect
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.probe import probe
from udh_core.media.video import read_frames
from udh_core.metrics import correlation
from udh_core.speech.tts import speak

SECONDS = 24
HELD_OUT_S = 2.4  # a tenth, at the end


def udh(*arguments: object, code: int = 0) -> str:
    """Run the command line; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "udh_core", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def person(tmp_path_factory, models) -> Path:
    """A folder with the built-in person, prepared, and a generator and SyncNet that learnt for a minute."""
    folder = tmp_path_factory.mktemp("person")
    for _ in make_clip(folder, seconds=SECONDS, seed=3):
        pass
    udh("prepare", folder / "person.mp4", "--avatar", folder / "avatar", "--crop-px", 96)
    udh("train-syncnet", "--avatar", folder / "avatar", "--out", folder / "s.safetensors", "--steps", 10)
    arguments = [
        "--avatar",
        folder / "avatar",
        "--out",
        folder / "g.safetensors",
        "--syncnet",
        folder / "s.safetensors",
    ]
    udh("train", *arguments, "--model-size", "small", "--steps", 90, "--motion-steps", 40, "--no-report")
    return folder


def rendered_opening(folder: Path, audio: Path, name: str) -> np.ndarray:
    """(n,) mouth openings found again in the finished mp4."""
    out = folder / name
    udh(
        "render", "--avatar", folder / "avatar", "--generator", folder / "g.safetensors", "--audio", audio, "--out", out
    )
    faces = list(detect(read_frames(out)))
    assert all(face.landmarks is not None for face in faces)
    return mouth_opening(np.stack([face.landmarks for face in faces]))


def test_held_out_mouth_follows_its_own_sound(person, figure):
    """Over other frames than it was recorded with: those at the beginning of the clip."""
    write_wave(person / "held_out.wav", load_waveform(person / "speech.wav", start_s=SECONDS - HELD_OUT_S))
    opening = rendered_opening(person, person / "held_out.wav", "own.mp4")
    truth = np.load(person / "truth.npz")["opening"][-len(opening) :]
    found = correlation(opening, truth)
    figure(f"held-out opening correlation, own sound: {found:.3f}")
    assert found >= 0.6


def test_mouth_follows_other_speech_and_not_the_frames_it_edits(person, figure):
    speech = speak(" ".join(NEW_SPEECH[5:9]))
    write_wave(person / "other.wav", speech)
    opening = rendered_opening(person, person / "other.wav", "other.mp4")
    own = np.load(person / "truth.npz")["opening"][: len(opening)]
    said = mouth_for(speech, len(opening), open_avatar(person / "avatar").info.fps).opening
    right, wrong = correlation(opening, said), correlation(opening, own)
    figure(f"other speech: correlation with that speech {right:.3f}, with the edited frames {wrong:.3f}")
    assert right >= 0.5
    assert wrong <= 0.3


def test_silence_rests_the_mouth(person, figure):
    write_wave(person / "silence.wav", np.zeros(16000 * 8, np.float32))
    opening = rendered_opening(person, person / "silence.wav", "silence.mp4")
    truth = np.load(person / "truth.npz")["opening"]
    figure(f"silence: opening std {opening.std():.4f}, of the speech {truth.std():.4f}")
    assert opening.std() < truth.std() / 3


def test_length_and_start_follow_the_audio(person):
    """The picture lasts as long as the sound, beyond the end of the clip too, and both start at zero."""
    speech = np.tile(speak(NEW_SPEECH[0]), 30)[: 16000 * (SECONDS + 2)]
    write_wave(person / "long.wav", speech)
    out = person / "long.mp4"
    arguments = ["--avatar", person / "avatar", "--generator", person / "g.safetensors", "--out", out]
    udh("render", *arguments, "--audio", person / "long.wav", "--when-audio-longer", "bounce")
    video = probe(out).video
    assert abs(video.frame_count - len(speech) / 16000 * 25) <= 1
    assert video.fps == 25


def test_evaluation_has_a_floor_and_a_ceiling(person):
    figures = person / "figures.json"
    common = ["--avatar", person / "avatar", "--generator", person / "g.safetensors"]
    udh("evaluate", *common, "--syncnet", person / "s.safetensors", "--json", figures)
    rows = json.loads(figures.read_text())["rows"]
    assert rows["real"]["opening_correlation"] > 0.999
    assert rows["generated"]["lpips"] < rows["another frame pasted"]["lpips"]
    assert rows["true shape"]["opening_correlation"] > 0.9
    opening = {name: row.get("opening_correlation") for name, row in rows.items()}
    assert opening["generated"] > opening["another frame pasted"] + 0.3
    assert opening["other passage"] > opening["other passage: source unchanged"] + 0.3
