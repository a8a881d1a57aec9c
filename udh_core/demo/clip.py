"""A talking person made by code: the mouth that belongs to speech, and a clip whose mouth openings are known."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from ..errors import FileError, OptionError
from ..files import atomic_write
from ..media.audio import SAMPLE_RATE_HZ, write_wave
from ..media.video import VideoWriter
from ..progress import Progress, job
from ..speech.tts import speak
from .puppet import EYE_DISTANCE, MAX_OPENING, NARROWEST, WIDEST, Pose, Puppet
from .sentences import NEW_SPEECH, passages

__all__ = ["NEW_SPEECH", "MouthTrack", "make_clip", "mouth_for", "passages", "speak"]

VIDEO_NAME, SPEECH_NAME, TRUTH_NAME = "person.mp4", "speech.wav", "truth.npz"
STAGE = "make a talking person"
REST_WIDTH = 0.7  # Pose.width of a silent mouth
_HOP_SAMPLES = 160  # the mouth is computed a hundred times a second
_WINDOW_SAMPLES = 400
_FFT = 512
_MAX_SHIFT, _MAX_ROLL_DEG, _MAX_ZOOM = 6.0 / 512, 3.0, 0.02  # head motion; the shift as a part of the picture's side
_NOISE_LEVEL = 1.1  # standard deviation of the sensor noise, of 255
_NOISE_MARGIN = 64  # px by which the noise field is larger than the picture, so that a window of it can wander
_MAX_PAUSE_S = 0.35


@dataclass(frozen=True)
class MouthTrack:
    """The mouth that belongs to some speech; row i is video frame i."""

    opening: np.ndarray  # (N,) float32, inner-lip gap / distance of the eyes' outer corners, 0 to MAX_OPENING
    width: np.ndarray  # (N,) float32, 0 rounded to 1 spread


def mouth_for(waveform: np.ndarray, frame_count: int, fps: Fraction) -> MouthTrack:
    """The mouth for each video frame of an (n,) 16 kHz waveform: a fixed function of the sound, nothing random in it.

    Loud open vowels (high first formant) open wide, close vowels little, nasals, stops and silence shut the lips;
    the second formant rounds or spreads them. Levels count relative to the waveform's own loud parts.
    """
    level, hiss, first, second = _sound_shape(waveform)
    reference = max(float(np.percentile(level, 95)), -5.0)  # dB; silence stays silence
    loud = np.clip((level - reference + 24) / 18, 0, 1)
    open_vowel = np.clip((first - 285) / 260, 0, 1)
    target = MAX_OPENING * loud * open_vowel + 0.03 * np.clip((hiss - reference + 32) / 12, 0, 1) * (1 - loud)
    opening = _gaussian(_follow(target), 2.2)
    opening = np.maximum(opening - 0.01, 0) * (MAX_OPENING / (MAX_OPENING - 0.01))
    spread = np.interp(second, (1400, 1650, 1850, 2150), (0.0, 0.45, 0.7, 1.0))
    width = _gaussian(REST_WIDTH + loud * (spread - REST_WIDTH), 4.0)
    middles_s = (np.arange(frame_count) + 0.5) / float(fps)
    hops = np.arange(len(level)) * (_HOP_SAMPLES / SAMPLE_RATE_HZ)
    tracks = (np.interp(middles_s, hops, values).astype(np.float32) for values in (opening, width))
    return MouthTrack(*tracks)


def _sound_shape(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per hop, (T,) each: level and hiss in dB, the spectrum's centre in Hz around the first and the second formant."""
    padded = np.pad(np.asarray(waveform, np.float32), _WINDOW_SAMPLES // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::_HOP_SAMPLES]
    window = np.hanning(_WINDOW_SAMPLES).astype(np.float32)
    magnitude = np.concatenate(
        [np.abs(np.fft.rfft(pieces[i : i + 2000] * window, _FFT)) for i in range(0, len(pieces), 2000)]
    )
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)

    def band(low_hz: float, high_hz: float) -> tuple[np.ndarray, np.ndarray]:
        inside = (frequency >= low_hz) & (frequency <= high_hz)
        return magnitude[:, inside], frequency[inside]

    def level(low_hz: float, high_hz: float) -> np.ndarray:
        return 10 * np.log10((band(low_hz, high_hz)[0] ** 2).sum(1) + 1e-6)

    def centre(low_hz: float, high_hz: float) -> np.ndarray:
        weight, hz = band(low_hz, high_hz)
        return (weight @ hz) / (weight.sum(1) + 1e-9)

    return level(150, 4000), level(3500, 8000), _gaussian(centre(150, 1100), 1.5), _gaussian(centre(900, 3000), 2.0)


def _follow(target: np.ndarray, attack_hops: float = 2.0, release_hops: float = 3.5) -> np.ndarray:
    """Lips cannot jump: 86 % of an opening in 40 ms, of a closing in 70 ms; begun 20 ms early, as speakers do."""
    rise, fall = 1 - np.exp(-1 / attack_hops), 1 - np.exp(-1 / release_hops)
    followed, now = np.empty_like(target), 0.0
    for i, wanted in enumerate(target):
        now += (wanted - now) * (rise if wanted > now else fall)
        followed[i] = now
    return np.concatenate([followed[2:], np.repeat(followed[-1:], 2)])[: len(target)]


def _gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth an (n,) track; the ends are held."""
    reach = int(3 * sigma + 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


@job
def make_clip(
    folder: Path, *, seconds: float = 60.0, seed: int = 0, fps: Fraction = Fraction(25), size: int = 512,
    text: Sequence[str] | None = None,
) -> Generator[Progress, None, Path]:  # fmt: skip
    """Write person.mp4 (with sound), speech.wav and truth.npz into `folder`; the result is the path of the video.

    The same seed makes the same clip. truth.npz holds one row per frame: opening (inner-lip gap / eye distance), width
    (inner mouth width / eye distance), blink, shift_x, shift_y (px), roll_deg, scale; and fps as [numerator,
    denominator]. Sentences of `text` are spoken in turn, again from the first when they run out. Raises OptionError for
    less than a second, FileError when the folder cannot be made, UdhError without scikit-image or hibari-tts.
    """
    folder = Path(folder)
    frame_count = round(seconds * fps)
    if frame_count < fps:
        raise OptionError(f"a clip of {seconds:g} s is too short; ask for at least one second")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise FileError(f"cannot make the folder {folder}: {e.strerror or e}; choose another") from e
    speech = _speech(text or passages(seed, seconds), round(frame_count / fps * SAMPLE_RATE_HZ), seed)
    write_wave(folder / SPEECH_NAME, speech)
    mouth = mouth_for(speech, frame_count, fps)
    motion = _head_motion(frame_count, fps, seed, size)
    blink = _blinks(frame_count, fps, seed)
    puppet, grain = Puppet(size), _Grain(size, seed)
    shape = {"width": size, "height": size, "fps": fps}
    with VideoWriter(folder / VIDEO_NAME, **shape, audio=folder / SPEECH_NAME, encoder="x264") as writer:
        for i in range(frame_count):
            head = {name: float(values[i]) for name, values in motion.items()}
            frame = puppet.draw(Pose(float(mouth.opening[i]), float(mouth.width[i]), float(blink[i]), **head))
            writer.write(grain.on(frame))
            yield Progress(STAGE, i + 1, frame_count + 1)
    half_width = NARROWEST + (WIDEST - NARROWEST) * mouth.width
    with atomic_write(folder / TRUTH_NAME) as temporary:
        rate = np.array([fps.numerator, fps.denominator])
        rows = {"opening": mouth.opening, "width": 2 * half_width / EYE_DISTANCE, "blink": blink, **motion}
        np.savez(temporary, fps=rate, **rows)
    yield Progress(STAGE, frame_count + 1, frame_count + 1)
    return folder / VIDEO_NAME


def _speech(sentences: Sequence[str], sample_count: int, seed: int) -> np.ndarray:
    """(sample_count,) float32: the sentences with short pauses, rounded as a 16-bit file will hold them."""
    rng = np.random.default_rng([seed, 2])
    parts, length = [], 0
    for sentence in cycle(sentences):
        pause = np.zeros(int(rng.uniform(0, _MAX_PAUSE_S) * SAMPLE_RATE_HZ), np.float32)
        parts += [speak(sentence), pause]
        length += len(parts[-2]) + len(pause)
        if length >= sample_count:
            break
    speech = np.concatenate(parts)[:sample_count]
    fade = min(len(speech), SAMPLE_RATE_HZ // 20)
    speech[len(speech) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.rint(speech * 32767) / np.float32(32767)


def _head_motion(frame_count: int, fps: Fraction, seed: int, size: int) -> dict[str, np.ndarray]:
    """Slow smooth random motion, (N,) float32 each: shift_x, shift_y (px), roll_deg, scale."""
    rng = np.random.default_rng([seed, 3])
    times_s = np.arange(frame_count) / float(fps)

    def wander(limit: float) -> np.ndarray:
        rates_hz, phases = rng.uniform(0.05, 0.4, 4), rng.uniform(0, 2 * np.pi, 4)
        waves = np.sin(2 * np.pi * rates_hz[:, None] * times_s + phases[:, None])
        return (limit * (np.array([0.35, 0.3, 0.2, 0.15]) @ waves)).astype(np.float32)

    shift = _MAX_SHIFT * size
    motion = {"shift_x": wander(shift), "shift_y": wander(shift), "roll_deg": wander(_MAX_ROLL_DEG)}
    return motion | {"scale": 1 + wander(_MAX_ZOOM)}


def _blinks(frame_count: int, fps: Fraction, seed: int) -> np.ndarray:
    """(N,) float32, 0 open to 1 shut: a blink every two to five seconds, shutting in 0.1 s and opening in 0.15 s."""
    rng = np.random.default_rng([seed, 4])
    times_s = np.arange(frame_count) / float(fps)
    shut, at_s = np.zeros(frame_count, np.float32), rng.uniform(0.5, 3.0)
    while at_s < frame_count / fps:
        shut = np.maximum(shut, np.interp(times_s - at_s, (-0.12, -0.02, 0.02, 0.17), (0, 1, 1, 0)))
        at_s += rng.uniform(2.0, 5.0)
    return shut.astype(np.float32)


class _Grain:
    """Sensor noise: a window that wanders over one larger seeded field."""

    def __init__(self, size: int, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 5])
        shape = (size + _NOISE_MARGIN, size + _NOISE_MARGIN, 3)
        self._field = np.rint(self._rng.normal(0, _NOISE_LEVEL, shape)).astype(np.int16)
        self._size = size

    def on(self, frame: np.ndarray) -> np.ndarray:
        """The frame, (size, size, 3) uint8, with noise."""
        row, column = self._rng.integers(_NOISE_MARGIN, size=2)
        window = self._field[row : row + self._size, column : column + self._size]
        return cv2.add(frame, window, dtype=cv2.CV_8U)
