"""What another voice costs a generator: `python -m benchmarks.voices --avatar DIR --generator FILE [--other DIR]`.

The held-out speech is changed in pitch and formants, drowned in noise, squeezed through a codec; the true motion of the
mouth stays what it was. Then other people speak, whose own mouths are the truth. Judged are the motion network's
shapes, before any pixels. The table goes to benchmarks/results/voices.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import soxr
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.tables import write_table
from udh_core import metrics
from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.face.mouth import lip_gap, mouth_opening
from udh_core.inference.driving import mouth_shapes
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.models.checkpoint import held_out_share, open_generator
from udh_core.models.generator import Generator
from udh_core.speech import features
from udh_core.speech.augmentation import add_noise, formant_shift, through_codec
from udh_core.speech.features import AudioFeatures

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--generator", type=Path, action="append", required=True, help="one per avatar")
    parser.add_argument("--other", type=Path, action="append", default=[], help="avatars of people to listen to, too")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    people = [open_avatar(root) for root in (*chosen.avatar, *chosen.other)]
    rows: dict[str, dict[str, str]] = {}
    for root, path in zip(chosen.avatar, chosen.generator, strict=True):
        for name, cell in heard_by(path, open_avatar(root), people):
            rows.setdefault(name, {})[root.name] = cell
            console.print(root.name, name, cell)
    names = [root.name for root in chosen.avatar]
    lines = [f"| what is heard | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells.get(root, '–') for root in names)} |" for name, cells in rows.items()]
    command = "python -m benchmarks.voices " + " ".join(f"--avatar {name} --generator …" for name in names)
    command += "".join(f" --other {root.name}" for root in chosen.other)
    about = (
        "Correlation of the mouth opening with the true one / its amplitude (1 = as in the held-out frames), shapes "
    )
    about += "only: held-out frames, and all frames of other people, whose opening is theirs."
    console.print(write_table("voices", "Other voices", about, lines, command))


def heard_by(path: Path, avatar: Avatar, people: list[Avatar]) -> Iterator[tuple[str, str]]:
    """What is heard, and the cell of what this generator makes of it."""
    info, generator = open_generator(path)
    data = load_training_data(avatar, info.encoder, held_out_share(path, info))
    own = opening(generator, generator.encode_shapes(data.points[data.held_out]))

    def cell(told: np.ndarray, true: np.ndarray) -> str:
        return f"{metrics.correlation(told, true):.3f} / {told.std() / own.std():.2f}"

    for name, waveform in voices(load_waveform(avatar.audio)):
        heard = features.extract(waveform, info.encoder)
        yield name, cell(openings_to(generator, heard, waveform, heard_s(data)), own)
    for other in people:
        if other.root != avatar.root:
            yield f"{other.root.name} speaking", cell(*openings_of(generator, other, info.encoder))


def openings_of(generator: Generator, other: Avatar, encoder: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) predicted from another person's speech, and theirs."""
    track = other.track()
    frames = np.flatnonzero(track.valid & track.present)
    heard, times_s = (other.features(encoder), load_waveform(other.audio)), (frames + 0.5) / float(other.info.fps)
    return openings_to(generator, *heard, times_s), mouth_opening(track.landmarks[frames])


def openings_to(generator: Generator, heard: AudioFeatures, waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) at these times (n,), adapted to the voice, before the rule for silence."""
    return opening(generator, mouth_shapes(generator, heard, times_s, waveform, rest=False))


def voices(own: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same words, each as long as `own` (n,) float32."""
    yield "as it is", own
    for semitones in (-5, -3, 3, 5):
        yield f"pitch and formants {semitones:+d} semitones", with_pitch(own, semitones)
    for semitones in (-4, 4):
        yield f"pitch alone {semitones:+d} semitones", formant_shift(with_pitch(own, semitones), 2 ** (-semitones / 12))
    for factor in (0.85, 1.18):
        yield f"formants alone, {factor:g} times", formant_shift(own, factor)
    for decibels in (20, 10):
        yield f"white noise, {decibels} dB below", add_noise(own, decibels)
    for codec, rate in (("libmp3lame", "24k"), ("libopus", "12k")):
        yield f"{codec.removeprefix('lib')} at {rate}bit/s", through_codec(own, codec, rate)


def with_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """(n,) → (n,) float32, pitch and formants changed together."""
    ratio = 2 ** (semitones / 12)
    faster = soxr.resample(waveform, SAMPLE_RATE_HZ * ratio, SAMPLE_RATE_HZ)
    return librosa.util.fix_length(librosa.effects.time_stretch(faster, rate=1 / ratio), size=len(waveform))


def heard_s(data: TrainingData) -> np.ndarray:
    return data.audio_times_s(data.held_out)


def opening(generator: Generator, shapes: Tensor) -> np.ndarray:
    """(n,) gap of the inner lips, face units, of shapes (n, shape_width); lips beyond each other are closed."""
    points = (shapes * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    return np.maximum(lip_gap(points.unflatten(1, (-1, 2)).numpy()), 0)


if __name__ == "__main__":
    main()
