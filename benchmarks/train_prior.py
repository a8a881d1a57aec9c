"""Trains the motion prior: `python -m benchmarks.train_prior --speakers DIR --cache DIR`.

Speakers are normalised as `inference/driving.py` adapts them: the mean of a speaker's features in speech is shifted to
that of all. In a first round the prior is trained on clips in which sound and mouth are known to be together; it then
finds the offset of every other clip, and what it explains at no offset is left out. A part of the speakers, drawn by a
fixed seed, is never trained on: how well their mouths are predicted is the figure that is written to
benchmarks/results/motion_prior.md. What it makes, with all that is known of it: docs/motion_prior.md.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import save

from benchmarks.prior_data import Part, Voices, explained, fit_shapes, parts_of
from benchmarks.speakers import SpeakerClip, extract_sounds, read_clips, sound_offset
from benchmarks.tables import write_table
from udh_core.models import motion_prior
from udh_core.models.blocks import MotionMember
from udh_core.models.motion_prior import MotionPrior, PriorConfig
from udh_core.models.tensors import interpolate_rows
from udh_core.training.loop import Schedule, set_learning_rate, update

CHUNK, BATCH = 60, 16  # frames, chunks
STEPS, LEARNING_RATE, WARMUP, WEIGHT_DECAY, NOISE = 300, 1e-3, 50, 0.02, 0.1
PLAIN_SHARE = 0.6  # of the batches; the others come from augmented speech
SEARCH_S, STEP_S = 0.32, 0.04  # offsets between sound and mouth that are tried
LEAST_CORRELATION = 0.3  # of the opening: clips of which less is explained at every offset are left out
CERTAIN_FRAMES, CERTAIN_S = 300, 0.32  # clips that are long enough for the offset to be measured at once, and its most
CORPUS = "grid"  # speakers of a corpus in which sound and mouth are together
UNTRAINED = ("grid_s1", "grid_s2")  # the one of the clip that benchmarks judge by; and one to judge the corpus by
VALIDATION_SHARE, SEED = 0.15, 0
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speakers", type=Path, required=True, help="folder with clips.tsv, shapes.npz and sound/")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the audio features")
    parser.add_argument("--out", type=Path, default=Path(motion_prior.__file__).parent / motion_prior.FILE)
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order
    torch.manual_seed(SEED)
    clips = list(read_clips(chosen.speakers))
    voices = Voices(clips, list(extract_sounds(clips, motion_prior.ENCODER, chosen.cache)))
    prior = MotionPrior(PriorConfig(voices.width))
    fit_shapes(prior, clips)
    prior.feature_std.copy_(voices.feature_std)
    apart = left_out(clips)
    offsets = found_offsets(prior, voices, clips, apart, chosen.steps)
    parts = parts_of(prior, clips, {name: s for name, (s, r) in offsets.items() if r >= LEAST_CORRELATION})
    train(prior, voices, [part for part in parts if part.speaker not in apart], chosen.steps)
    content = save({name: tensor.half() for name, tensor in prior.state_dict().items()})
    chosen.out.write_bytes(content)
    console.print(f"{chosen.out}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}")
    report(prior, voices, parts, apart, len(clips))


def left_out(clips: list[SpeakerClip]) -> set[str]:
    """Speakers that are never trained on."""
    others = sorted({clip.speaker for clip in clips if not clip.speaker.startswith("grid_s")})
    drawn = np.random.default_rng(SEED).choice(others, round(VALIDATION_SHARE * len(others)), replace=False)
    return {*drawn.tolist(), *UNTRAINED}


def found_offsets(
    prior: MotionPrior, voices: Voices, clips: list[SpeakerClip], apart: set[str], steps: int
) -> dict[str, tuple[float, float]]:
    """Of every clip by how many seconds its sound is late, and how much of its opening is explained there."""
    known = {clip.name: 0.0 for clip in clips if clip.speaker.startswith(CORPUS)}
    for clip in clips:
        if clip.name not in known and clip.valid.sum() >= CERTAIN_FRAMES:
            measured = sound_offset(clip)
            offset_s = measured.offset_frames / clip.fps
            if measured.correlation >= LEAST_CORRELATION and abs(offset_s) < CERTAIN_S:
                known[clip.name] = offset_s
    first = MotionPrior(PriorConfig(voices.width, members=1))
    first.load_state_dict({name: prior.state_dict()[name] for name in first.state_dict()})
    parts = parts_of(first, clips, known)
    train(first, voices, [part for part in parts if part.speaker not in apart], steps // 2)
    shifts, found = tuple(np.arange(-SEARCH_S, SEARCH_S + STEP_S / 2, STEP_S).tolist()), {}
    for part in parts_of(first, clips, {clip.name: 0.0 for clip in clips}):
        tried = (0.0,) if part.speaker.startswith(CORPUS) else shifts
        explains = explained(first, voices, part, tried)
        best = int(np.argmax(explains))
        if len(tried) == 1 or 0 < best < len(tried) - 1:
            found[part.name] = (tried[best], explains[best])
    return found


def train(prior: MotionPrior, voices: Voices, parts: list[Part], steps: int) -> None:
    """All members, one after the other."""
    batches = Batches(prior, voices, parts)
    for k, member in enumerate(prior.members):
        member.train()
        optimiser = torch.optim.AdamW(member.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = Schedule(steps, None)
        for step in range(steps):
            set_learning_rate(optimiser, schedule.learning_rate(step, LEARNING_RATE, WARMUP))
            rng = np.random.default_rng((SEED, k, step))
            torch.manual_seed(int(rng.integers(2**31)))
            loss = batches.loss(member, rng)  # pyright: ignore[reportArgumentType]
            found = update(member, optimiser, {"loss": loss}, ("prior", step))
            if step % 50 == 0:
                console.print(f"member {k + 1}, step {step} of {steps}: loss {found['loss']:.3f}")
        member.eval()


class Batches:
    """Draws stretches of the parts, and takes the loss on them."""

    def __init__(self, prior: MotionPrior, voices: Voices, parts: list[Part]) -> None:
        self.voices, self.parts = voices, parts
        self.weight = prior.shape_std.sqrt() / prior.shape_std.sqrt().sum()
        self.share = voices.shares(parts)

    def loss(self, member: MotionMember, rng: np.random.Generator) -> torch.Tensor:
        """L1 on the shapes and on their differences over time, components weighted by how far they move the mouth."""
        plain = rng.random() < PLAIN_SHARE
        source, tempo = self.voices.sounds[0 if plain else int(rng.integers(1, len(self.voices.sounds)))]
        chosen = [self.parts[k] for k in rng.choice(len(self.parts), BATCH, p=self.share)]
        stretches = [part.stretch(int(rng.integers(0, max(1, len(part.target) - CHUNK + 1))), CHUNK) for part in chosen]
        rows = torch.stack([stretch.times_s for stretch in stretches]) * self.voices.rows_per_s / tempo - 0.5
        first = rows[:, :1].floor() - 8
        length = int((rows - first).max().ceil()) + 10
        index = (first.long() + torch.arange(length)).clamp(0, len(source) - 1)
        features = source[index]
        features = features + NOISE * torch.randn_like(features)
        predicted = interpolate_rows(member(features), (rows - first).float())
        target, known, linked = (torch.stack(list(values)) for values in zip(*(s[1:] for s in stretches), strict=True))
        error = ((predicted - target).abs() * self.weight).sum(-1)
        steps = ((predicted.diff(dim=1) - target.diff(dim=1)).abs() * self.weight).sum(-1)
        linked = linked[:, 1:]
        return (error * known).sum() / known.sum().clamp_min(1) + (steps * linked).sum() / linked.sum().clamp_min(1)


def report(prior: MotionPrior, voices: Voices, parts: list[Part], apart: set[str], clips: int) -> None:
    """Write how well the mouths of speakers are predicted that were not trained on."""
    lines = ["| speakers | clips | minutes | opening: correlation, mean | least | most |", "|---|---|---|---|---|---|"]
    for title, wanted in groups(apart):
        some = [part for part in parts if wanted(part.speaker)]
        found = [explained(prior, voices, part)[0] for part in some]
        minutes = sum(part.length_s for part in some) / 60
        cells = " | ".join(f"{value:.2f}" for value in (np.mean(found), np.min(found), np.max(found)))
        lines.append(f"| {title} | {len(some)} | {minutes:.1f} | {cells} |")
    about = (
        f"{len(parts)} of {clips} clips; of the others less than {LEAST_CORRELATION:g} is explained at every offset."
    )
    command = "python -m benchmarks.train_prior --speakers … --cache …"
    console.print(write_table("motion_prior", "The motion prior", about, lines, command))


def groups(apart: set[str]) -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Title, and whether a speaker belongs to it."""
    yield "trained on", lambda speaker: speaker not in apart
    yield "left out, speaking freely", lambda speaker: speaker in apart and not speaker.startswith(CORPUS)
    yield "left out, of the corpus", lambda speaker: speaker in apart and speaker.startswith(CORPUS)


if __name__ == "__main__":
    main()
