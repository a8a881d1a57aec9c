"""The held-out crops as a small video, original beside generated, for the page."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ..errors import MediaError
from ..files import scratch_folder
from ..media.audio import load_sound, write_wave
from ..media.video import VideoWriter
from .result import Evaluation

MAX_VIDEO_BYTES = 4_500_000  # 6 MB once it is written as text
QUALITIES = ((20, 1.0), (26, 1.0), (30, 0.5), (38, 0.5))  # crf and scale, tried until the video is small enough


def side_by_side(evaluation: Evaluation, sound: Path | None, limit: int = MAX_VIDEO_BYTES) -> bytes:
    """An mp4 of the held-out crops, original | generated, with their audio; smaller pictures where it would be large.

    The last try is taken whatever its size.
    """
    content = b""
    with scratch_folder() as folder:
        wave = None if sound is None else _cut_sound(evaluation, sound, Path(folder) / "sound.wav")
        for crf, scale in QUALITIES:
            out = Path(folder) / f"{crf}.mp4"
            _encode(evaluation, out, wave, crf, scale)
            content = out.read_bytes()
            if len(content) <= limit:
                break
    return content


def _encode(evaluation: Evaluation, out: Path, wave: Path | None, crf: int, scale: float) -> None:
    side = round(evaluation.real.shape[1] * scale / 2) * 2
    fps = Fraction(evaluation.fps).limit_denominator(1001)
    size = {"width": 2 * side, "height": side}
    with VideoWriter(out, **size, fps=fps, audio=wave, crf=crf, encoder="x264", generated=True) as writer:
        for pair in zip(evaluation.real, evaluation.generated, strict=True):
            frame = np.concatenate(pair, axis=1)
            if frame.shape[0] != side:
                frame = cv2.resize(frame, (2 * side, side), interpolation=cv2.INTER_AREA)
            writer.write(frame)


def _cut_sound(evaluation: Evaluation, sound: Path, out: Path) -> Path | None:
    """The audio of the held-out frames, one after the other; None where it has ended by then."""
    frames, shift = evaluation.frames, evaluation.clip.get("sound_shift", 0.0)
    start_s = max(0.0, (int(frames[0]) + shift) / evaluation.fps)
    try:
        samples, rate_hz = load_sound(sound, start_s=start_s, duration_s=(frames[-1] + 2 - frames[0]) / evaluation.fps)
    except MediaError:
        return None
    edges = np.rint(((frames[:, None] + [0, 1] + shift) / evaluation.fps - start_s) * rate_hz).astype(int)
    padded = np.pad(samples, ((0, max(0, int(edges.max()) - len(samples))), (0, 0)))
    write_wave(out, np.concatenate([padded[max(0, first) : last] for first, last in edges]), rate_hz)
    return out
