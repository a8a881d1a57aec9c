"""How much of a person is enough: `python -m benchmarks.clip_length --avatar DIR --other DIR --seconds 15`.

A motion network is trained on some seconds of a clip, and judged without and with the motion prior, on the held-out
frames, by the same speech in another pitch and by other people's, as `benchmarks.voices` does it; the mean over some
seeds, and over where those seconds begin. The table goes to benchmarks/results/clip_length_<avatar>.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.people import ENCODER, Person, open_person
from benchmarks.tables import write_table
from benchmarks.voices import figures, held_out_sound, opening, openings_of, openings_to, trained, with_pitch
from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.models.generator import Generator
from udh_core.models.motion_prior import open_prior
from udh_core.speech import features
from udh_core.training.options import GeneratorOptions

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True)
    parser.add_argument("--other", type=Path, action="append", required=True, help="avatars of people to listen to")
    parser.add_argument("--seconds", type=float, nargs="+", required=True, help="of the clip to train on")
    parser.add_argument("--starts", type=float, nargs="+", default=[0.0], help="seconds after which they begin")
    parser.add_argument("--seeds", type=int, default=2, help="how many networks of each")
    parser.add_argument("--steps", type=int, default=GeneratorOptions.motion_steps, help="of each motion network")
    chosen = parser.parse_args()
    data, others = load_training_data(open_avatar(chosen.avatar), ENCODER), [open_person(one) for one in chosen.other]
    lines = [
        "| seconds | from | own voice, without the prior | with | ±3 semitones, without | with | others, without | "
        "with |",
        "|---" * 8 + "|",
    ]
    for seconds in chosen.seconds:
        for start in chosen.starts:
            lines.append(line(part(data, start, seconds), start, others, chosen.seeds, chosen.steps))
            console.print(lines[-1])
    write(lines, chosen)


def line(data: TrainingData, start: float, others: list[Person], seeds: int, steps: int) -> str:
    found = []  # by seed, without and with the prior, by the three kinds of voices: correlation and amplitude
    for seed in range(seeds):
        found.append([figures_of(one, data, others) for one in trained(data, open_prior(), steps, seed)])
    means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
    cells = []
    for voice in range(means.shape[1]):
        for prior in range(2):
            correlation, amplitude = means[prior, voice]
            cells.append(f"{correlation:.3f} ± {spreads[prior, voice, 0]:.3f} / {amplitude:.2f}")
    return f"| {len(data.train_frames) / fps(data):.0f} | {start:g} | {' | '.join(cells)} |"


def write(lines: list[str], chosen: argparse.Namespace) -> None:
    name = chosen.avatar.name
    command = f"python -m benchmarks.clip_length --avatar {name}"
    command += "".join(f" --other {root.name}" for root in chosen.other)
    command += f" --seconds {' '.join(f'{one:g}' for one in chosen.seconds)} --starts"
    command += f" {' '.join(f'{one:g}' for one in chosen.starts)} --seeds {chosen.seeds}"
    command += f" --steps {chosen.steps}"
    about = (
        f"{name}, as in [voices.md](voices.md), the same held-out frames for every length: correlation of the mouth "
        f"opening ± its standard deviation between {chosen.seeds} seeds / the amplitude; others: {len(chosen.other)} "
        "people, the mean. from: second of the clip at which what is trained on begins."
    )
    console.print(write_table(f"clip_length_{name}", "Seconds of clip", about, lines, command))


def part(data: TrainingData, start: float, seconds: float) -> TrainingData:
    """The same held-out frames, and of the frames to train on so many seconds from there on."""
    return replace(data, train_frames=data.train_frames[round(start * fps(data)) :][: round(seconds * fps(data))])


def fps(data: TrainingData) -> float:
    return float(data.avatar.info.fps)


def figures_of(generator: Generator, data: TrainingData, others: list[Person]) -> list[tuple[float, float]]:
    """By the own voice in the held-out frames; the means by it 3 semitones lower and higher, and by other people's."""
    own = opening(generator, generator.encode_shapes(data.points[data.held_out]))
    times_s, waveform = held_out_sound(data)
    by_own = []
    for changed in (waveform, with_pitch(waveform, -3), with_pitch(waveform, 3)):
        predicted = openings_to(generator, features.extract(changed, ENCODER), changed, times_s)
        by_own.append(figures(predicted, own, own))
    by_others = [figures(*openings_of(generator, other), own) for other in others]
    return [by_own[0], mean_of(by_own[1:]), mean_of(by_others)]


def mean_of(found: list[tuple[float, float]]) -> tuple[float, float]:
    correlation, amplitude = np.mean(found, axis=0)
    return float(correlation), float(amplitude)


if __name__ == "__main__":
    main()
