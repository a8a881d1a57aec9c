"""What speech in pieces costs and changes: `python -m benchmarks.streaming --avatar DIR --generator FILE`.

The features of every hop come from a window of their own, as in a stream, without what is known of the voice; of the
last seconds of the clip, or of another sound. The table of history, look-ahead and hop goes to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.tables import write_table
from udh_core import metrics
from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.face.mouth import lip_gap
from udh_core.inference.driving import at_times, predict_rows
from udh_core.inference.live_driving import SEEN_ROWS
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import Generator
from udh_core.speech import features
from udh_core.speech.chunking import padded_slice
from udh_core.speech.encoders import Encoder, open_encoder, rows_of_window
from udh_core.speech.features import AudioFeatures

WINDOWS = [  # seconds of history, look-ahead and hop; whole rows of every encoder
    (1, 0.2, 0.16),
    (2, 0.12, 0.16),
    (2, 0.2, 0.08),
    (2, 0.2, 0.16),
    (2, 0.28, 0.16),
    (3, 0.2, 0.16),
    (4, 0.2, 0.16),
    (4, 0.6, 0.16),
    (8, 0.2, 0.16),
    (26, 0.2, 0.32),
]
ABOUT = (
    "Rows: median correlation of the features' columns with those of a render. Opening: correlation of the predicted "
    "opening with a render's, and with the real mouth's. One thread: processor time for a second of sound."
)
console = Console(stderr=True)


class Speech(NamedTuple):
    """What is streamed."""

    waveform: np.ndarray  # (n,) float32 16 kHz
    times_s: np.ndarray  # (m,) of frames in it
    opening: np.ndarray | None  # (m,) of the real mouth there, face units; None: it is somebody else's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True, help="trained on it")
    parser.add_argument("--sound", type=Path, help="another sound than the clip's")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the end of the clip")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    avatar, (info, generator) = open_avatar(chosen.avatar), open_generator(chosen.generator)
    encoder = open_encoder(info.encoder)
    speech = other(chosen.sound) if chosen.sound else own(avatar, generator, info.encoder, chosen.seconds)
    whole = features.extract(speech.waveform, info.encoder)
    rendered = openings(generator, predict_rows(generator, whole, no_shift(generator)), whole.rate_hz, speech.times_s)
    lines = ["| history, look-ahead, hop | rows | opening | real mouth | one thread |", "|---|---|---|---|---|"]
    for window in WINDOWS:
        lines.append(line(window, generator, encoder, speech, whole, rendered))
        console.print(lines[-1])
    real = "–" if speech.opening is None else f"{metrics.correlation(rendered, speech.opening):.3f}"
    lines.append(f"| a render | 1 | 1 | {real} | – |")
    sound = f" --sound {chosen.sound.name}" if chosen.sound else f" --seconds {chosen.seconds:g}"
    command = f"python -m benchmarks.streaming --avatar {chosen.avatar.name} --generator {chosen.generator.name}{sound}"
    write_table(f"streaming_{(chosen.sound or chosen.avatar).stem}", "Speech in pieces", ABOUT, lines, command)


def own(avatar: Avatar, generator: Generator, encoder: str, seconds: float) -> Speech:
    """The last seconds of the clip; times are those at which its sound belongs to its frames."""
    data, whole = load_training_data(avatar, encoder), load_waveform(avatar.audio)
    waveform = whole[-round(seconds * SAMPLE_RATE_HZ) :]
    frames = np.arange(len(data.points))
    times_s = data.audio_times_s(frames) - (len(whole) - len(waveform)) / SAMPLE_RATE_HZ
    within = (times_s > 0) & (times_s < len(waveform) / SAMPLE_RATE_HZ)
    return Speech(waveform, times_s[within], lip_gap(data.points[frames[within]].numpy()))


def other(path: Path) -> Speech:
    """A sound, 40 s of it at most."""
    waveform = load_waveform(path)[: 40 * SAMPLE_RATE_HZ]
    return Speech(waveform, np.arange(0.02, len(waveform) / SAMPLE_RATE_HZ, 0.04), None)


def line(
    window: tuple[float, float, float],
    generator: Generator,
    encoder: Encoder,
    speech: Speech,
    whole: AudioFeatures,
    rendered: np.ndarray,
) -> str:
    begun_s = time.process_time()
    parts = list(streamed(window, generator, encoder, speech.waveform))
    cost = (time.process_time() - begun_s) / (len(speech.waveform) / SAMPLE_RATE_HZ)
    count = min(sum(len(rows) for rows, _ in parts), len(whole.values))
    rows, shapes = np.concatenate([rows for rows, _ in parts])[:count], torch.cat([shape for _, shape in parts])
    alike = [metrics.correlation(*pair) for pair in zip(rows.T, whole.values[:count].T, strict=True)]
    found = openings(generator, shapes, whole.rate_hz, speech.times_s)
    real = "–" if speech.opening is None else f"{metrics.correlation(found, speech.opening):.3f}"
    figures = f"{np.median(alike):.2f} | {metrics.correlation(found, rendered):.3f} | {real}"
    return f"| {window[0]:g} s, {window[1]:g} s, {window[2]:g} s | {figures} | {cost:.2f} s/s |"


def streamed(
    window: tuple[float, float, float], generator: Generator, encoder: Encoder, waveform: np.ndarray
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Features (r, D) and mouth shapes (r, shape_width) of hop after hop."""
    history, ahead, hop = (round(seconds * SAMPLE_RATE_HZ) for seconds in window)
    before, count = (round(samples * encoder.rate_hz / SAMPLE_RATE_HZ) for samples in (history, hop))
    for start in range(0, len(waveform), hop):
        rows = rows_of_window(encoder, padded_slice(waveform, start - history, history + hop + ahead))
        seen = AudioFeatures(rows[before - SEEN_ROWS :], encoder.rate_hz, encoder.name)
        shapes = predict_rows(generator, seen, no_shift(generator))[SEEN_ROWS:][:count]
        yield rows[before : before + count], shapes


def no_shift(generator: Generator) -> Tensor:
    return torch.zeros(generator.config.motion.feature_width)


def openings(generator: Generator, shapes: Tensor, rate_hz: float, times_s: np.ndarray) -> np.ndarray:
    """(m,) face units, of shapes (T, shape_width) at so many rows a second."""
    at_frames = at_times(shapes, rate_hz, times_s)
    points = generator.shape_mean + (at_frames * generator.shape_std) @ generator.shape_basis
    return lip_gap(points.unflatten(1, (-1, 2)).numpy())


if __name__ == "__main__":
    main()
