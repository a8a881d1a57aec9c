"""What another voice costs a generator: `python -m benchmarks.voices --avatar DIR --generator FILE`.

The held-out speech is changed in pitch and formants, drowned in noise, squeezed through a codec; the true motion of the
mouth stays what it was. Judged are the motion network's shapes, before any pixels. The table goes to
benchmarks/results/voices.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import soxr
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.tables import write_table
from udh_core import features, ffmpeg, metrics
from udh_core.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.avatar import open_avatar
from udh_core.batches import TrainingData, load_training_data
from udh_core.generator_file import open_generator
from udh_core.geometry import LIPS
from udh_core.models.generator import Generator
from udh_core.painter import predict_shapes

INNER_LIPS = (LIPS.index(13), LIPS.index(14))
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--generator", type=Path, action="append", required=True, help="one per avatar")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    columns: dict[str, list[str]] = {}
    for root, path in zip(chosen.avatar, chosen.generator, strict=True):
        info, generator = open_generator(path)
        data = load_training_data(open_avatar(root), info.encoder, float(info.config["options"]["held_out"]))
        for name, waveform in voices(load_waveform(data.avatar.audio)):
            told = opening(
                generator, predict_shapes(generator, features.extract(waveform, info.encoder), heard_s(data))
            )
            true = opening(generator, generator.encode_shapes(data.points[data.held_out]))
            cell = f"{metrics.correlation(told, true):.3f} / {told.std() / true.std():.2f}"
            columns.setdefault(name, []).append(cell)
            console.print(root.name, name, cell)
    names = [root.name for root in chosen.avatar]
    lines = [f"| the held-out speech | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in columns.items()]
    command = "python -m benchmarks.voices " + " ".join(f"--avatar {name} --generator …" for name in names)
    about = (
        "Correlation of the mouth opening with the true one / its amplitude (1 = real), held-out frames, shapes only."
    )
    console.print(write_table("voices", "Other voices", about, lines, command))


def voices(own: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same words, each as long as `own` (n,) float32."""
    yield "as it is", own
    for semitones in (-5, -3, 3, 5):
        yield f"pitch and formants {semitones:+d} semitones", shifted(own, semitones)
    for semitones in (-4, 4):
        other = librosa.effects.pitch_shift(own, sr=SAMPLE_RATE_HZ, n_steps=semitones)
        yield f"pitch and formants {semitones:+d} semitones, by librosa", other
    rng = np.random.default_rng(0)
    for decibels in (20, 10):
        noise = rng.standard_normal(len(own)) * own.std() * 10 ** (-decibels / 20)
        yield f"white noise, {decibels} dB below", (own + noise).astype(np.float32)
    for codec, rate in (("libmp3lame", "24k"), ("libopus", "12k")):
        yield f"{codec.removeprefix('lib')} at {rate}bit/s", through(own, codec, rate)


def shifted(own: np.ndarray, semitones: float) -> np.ndarray:
    """Played faster or slower, then brought back to its length: another throat as well as another pitch."""
    ratio = 2 ** (semitones / 12)
    other = soxr.resample(own, SAMPLE_RATE_HZ * ratio, SAMPLE_RATE_HZ)
    return librosa.util.fix_length(librosa.effects.time_stretch(other, rate=1 / ratio), size=len(own))


def through(own: np.ndarray, codec: str, rate: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        plain, coded = Path(scratch) / "plain.wav", Path(scratch) / "coded.mkv"
        write_wave(plain, own)
        ffmpeg.run(["-i", str(plain), "-c:a", codec, "-b:a", rate, str(coded)], f"cannot make {coded}")
        return librosa.util.fix_length(load_waveform(coded), size=len(own))


def heard_s(data: TrainingData) -> np.ndarray:
    return data.times_heard_s(data.held_out)


def opening(generator: Generator, shapes: Tensor) -> np.ndarray:
    """(n,) distance of the inner lips, face units, of shapes (n, shape_width)."""
    points = (shapes * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    upper, lower = (points.unflatten(1, (-1, 2))[:, i] for i in INNER_LIPS)
    return (lower - upper).norm(dim=-1).numpy()


if __name__ == "__main__":
    main()
