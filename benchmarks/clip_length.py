"""How much of a person is enough: `python -m benchmarks.clip_length --avatar DIR --other DIR --seconds 15`.

A motion network is trained on the first seconds of a clip, and judged without and with the motion prior, on the
held-out frames and by other people's speech, as `benchmarks.voices` does it; the mean over some seeds. The table goes
to benchmarks/results/clip_length_<avatar>.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.people import ENCODER, Person, open_person
from benchmarks.tables import write_table
from benchmarks.voices import figures, held_out_sound, in_words, opening, openings_of, openings_to, trained
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
    parser.add_argument("--seeds", type=int, default=2, help="how many networks of each")
    parser.add_argument("--steps", type=int, default=GeneratorOptions.motion_steps, help="of each motion network")
    chosen = parser.parse_args()
    data, others = load_training_data(open_avatar(chosen.avatar), ENCODER), [open_person(one) for one in chosen.other]
    lines = [
        "| seconds | own voice, without the prior | with | other people, without | with |",
        "|---|---|---|---|---|",
    ]
    for seconds in chosen.seconds:
        lines.append(line(beginning(data, seconds), others, chosen.seeds, chosen.steps))
        console.print(lines[-1])
    write(lines, chosen)


def line(data: TrainingData, others: list[Person], seeds: int, steps: int) -> str:
    found = []  # by seed, without and with the prior, by the own voice and by others: correlation and amplitude
    for seed in range(seeds):
        found.append([figures_of(one, data, others) for one in trained(data, open_prior(), steps, seed)])
    without, with_prior = np.mean(found, axis=0)
    cells = [in_words(figure) for figure in (without[0], with_prior[0], without[1], with_prior[1])]
    return f"| {len(data.train_frames) / fps(data):.0f} | {' | '.join(cells)} |"


def write(lines: list[str], chosen: argparse.Namespace) -> None:
    name = chosen.avatar.name
    command = f"python -m benchmarks.clip_length --avatar {name}"
    command += "".join(f" --other {root.name}" for root in chosen.other)
    command += f" --seconds {' '.join(f'{one:g}' for one in chosen.seconds)} --seeds {chosen.seeds}"
    command += f" --steps {chosen.steps}"
    about = (
        f"{name}, as in [voices.md](voices.md), the same held-out frames for every length: correlation of the mouth "
        f"opening / its amplitude; mean over {chosen.seeds} networks, and over the other people."
    )
    console.print(write_table(f"clip_length_{name}", "Seconds of clip", about, lines, command))


def beginning(data: TrainingData, seconds: float) -> TrainingData:
    """The same held-out frames, and of the frames to train on the first so many seconds."""
    return replace(data, train_frames=data.train_frames[: round(seconds * fps(data))])


def fps(data: TrainingData) -> float:
    return float(data.avatar.info.fps)


def figures_of(generator: Generator, data: TrainingData, others: list[Person]) -> list[tuple[float, float]]:
    """By the own voice in the held-out frames; by other people's, the mean."""
    own = opening(generator, generator.encode_shapes(data.points[data.held_out]))
    times_s, waveform = held_out_sound(data)
    predicted = openings_to(generator, features.extract(waveform, ENCODER), waveform, times_s)
    theirs = np.mean([figures(*openings_of(generator, other), own) for other in others], axis=0)
    return [figures(predicted, own, own), (float(theirs[0]), float(theirs[1]))]


if __name__ == "__main__":
    main()
