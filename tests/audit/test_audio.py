"""Audit of the sound alone: what is built to deserve a finding gets it, and no other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import fftconvolve

from udh_core.audit.audio import audio_findings, clipped_share, decay_s, flatness, speech_over_background_db
from udh_core.avatar.folder import Avatar
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech.activity import speech_mask

RATE = SAMPLE_RATE_HZ
SHORT = "amount of speech"  # too little


def music(samples: int) -> np.ndarray:
    """Chords of three struck strings, one a second."""
    times_s = np.arange(samples) / RATE
    chord = np.array([(261.6, 329.6, 392.0), (220.0, 261.6, 329.6), (174.6, 220.0, 261.6)])[times_s.astype(int) % 3]
    struck_s = times_s % 1.0
    tones = [np.sin(2 * np.pi * chord[:, k] * h * struck_s) / h for k in range(3) for h in (1, 2, 3)]
    return np.sum(tones, axis=0) * np.exp(-struck_s)


def beside(speech: np.ndarray, other: np.ndarray, ratio_db: float) -> np.ndarray:
    """Speech and something else, so much weaker."""
    gain = np.sqrt(np.mean(speech**2) / np.mean(other**2)) * 10 ** (-ratio_db / 20)
    return (speech + gain * other).astype(np.float32)


def in_a_room(speech: np.ndarray, fading_s: float) -> np.ndarray:
    """As heard from some distance in a room whose sounds fade by 60 dB in that time."""
    count = int(fading_s * RATE)
    room = np.random.default_rng(1).normal(size=count) * 10 ** (-3 * np.arange(count) / count)
    room = room / np.sqrt(np.sum(room**2))
    room[0] = 1.0
    return 0.5 * fftconvolve(speech, room)[: len(speech)].astype(np.float32)


def clipped(speech: np.ndarray) -> np.ndarray:
    limit = np.percentile(np.abs(speech), 95)
    return np.clip(speech, -limit, limit) * (0.6 / limit)


def hushed(speech: np.ndarray) -> np.ndarray:
    return speech * (np.arange(len(speech)) < 0.2 * len(speech))


SOUNDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise": lambda s: beside(s, np.random.default_rng(0).normal(size=len(s)), 12),
    "music": lambda s: beside(s, music(len(s)), 12),
    "echo": lambda s: in_a_room(s, 1.0),
    "clipping": clipped,
}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("who", ["person", "grid"])
def test_bad_sound_raises_its_flag_and_no_other(
    name: str, who: str, request: pytest.FixtureRequest, figure: Callable[[str], None]
) -> None:
    avatar: Avatar = request.getfixturevalue({"person": "small", "grid": "grid"}[who])
    speaks = np.ones(avatar.info.frame_count * 10, bool)  # long enough
    findings = audio_findings(SOUNDS[name](load_waveform(avatar.audio)), speaks, float(avatar.info.fps))
    assert {finding.name for finding in findings if finding.level != "green"} == {name}
    figure(f"audit, {name} ({who}): " + next(f.sentence for f in findings if f.name == name))


def test_silence_raises_its_flag(grid: Avatar) -> None:
    sound = hushed(load_waveform(grid.audio))
    findings = {
        f.name: f for f in audio_findings(sound, speech_mask(sound, grid.frame_times_s()), float(grid.info.fps))
    }
    assert {name for name, finding in findings.items() if finding.level != "green"} == {"silence", SHORT}
    assert findings["silence"].ranges_s[-1][1] == pytest.approx(grid.info.duration_s, abs=0.5)


def test_no_sound_at_all_is_silence_and_nothing_else() -> None:
    findings = audio_findings(np.zeros(60 * RATE, np.float32), np.zeros(1500, bool), 25.0)
    assert {f.name: f.level for f in findings if f.level != "green"} == {"silence": "red", SHORT: "red"}


def test_sound_figures_on_known_sounds() -> None:
    rng = np.random.default_rng(3)
    hiss = rng.normal(0, 0.01, 5 * RATE).astype(np.float32)
    bursts = hiss.copy()
    for start in range(0, 5 * RATE, RATE):
        bursts[start : start + RATE // 2] *= 10
    assert speech_over_background_db(bursts) == pytest.approx(20, abs=1)
    assert flatness(hiss) > 0.4
    assert flatness(music(5 * RATE).astype(np.float32)) < 0.05
    assert clipped_share(hiss) < 0.001
    assert clipped_share(clipped(hiss)) == pytest.approx(0.05, abs=0.02)
    assert np.isnan(decay_s(hiss))
    for fading_s in (0.3, 0.9):
        clicks = np.zeros(10 * RATE)
        clicks[:: 2 * RATE] = 1.0
        assert decay_s(in_a_room(clicks, fading_s) + 1e-5 * np.resize(hiss, 10 * RATE)) == pytest.approx(
            fading_s, rel=0.3
        )
