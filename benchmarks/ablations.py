"""What each part of the generator is worth: `python -m benchmarks.ablations warp|motion --avatar DIR [--steps N]`.

`warp` trains the warp network alone, told the true shapes, once per variant with one thing changed, and judges it
on held-out frames before reach and detail are set. `motion` trains the motion network alone and judges the mouth
opening it predicts for the held-out speech, as it is and in other voices, and for other people's speech; given a second
avatar, that is the one judged, and the first the one that "started from the other person" starts from. Differences
smaller than between the seeds of "as it is" say nothing. The table grows in
benchmarks/results/ablations_<part>_<avatar>.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.motion_variants import MotionVariant, motion_variants
from benchmarks.people import open_person
from benchmarks.tables import write_table
from benchmarks.voices import opening, openings_of, openings_to, with_pitch
from benchmarks.warp_variants import Experiment, warp_variants
from udh_core import metrics
from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.face.crop import in_crop, mask
from udh_core.face.detector import FaceMesh
from udh_core.inference.driving import mouth_shapes
from udh_core.intervals import run_starts
from udh_core.media.audio import load_waveform
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.lpips import Lpips
from udh_core.models.motion import MotionConfig, MotionNet, MotionTrainingConfig
from udh_core.models.tensors import autocast_dtype, to_input, to_uint8
from udh_core.models.warping import WarpConfig
from udh_core.speech import augmentation, features
from udh_core.training import augmented_features
from udh_core.training.calibration import ClipSound, fit_feature_statistics, openings, rest_shape
from udh_core.training.loop import Schedule
from udh_core.training.motion import Chunks, MotionTraining, TrainingSounds
from udh_core.training.options import GeneratorOptions

ENCODER = "whisper-tiny"
PAIRS, RUN = 60, 60  # held-out frames: pairs judged, consecutive ones for flicker
SEMITONES = (-3, 3)
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("warp", "motion"))
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--other", type=Path, action="append", default=[], help="motion: more people to listen to")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the clip")
    parser.add_argument("--steps", type=int, default=200, help="of training, each")
    parser.add_argument("--only", nargs="+", help="variants whose name holds one of these; nothing is written")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    lines: list[str] = []
    for line in (warp if chosen.part == "warp" else motion)(chosen):
        console.print(line)
        lines.append(line)
        if not chosen.only:
            write(lines, chosen)


def wanted(name: str, chosen: argparse.Namespace) -> bool:
    return not chosen.only or any(part in name for part in chosen.only)


def warp(chosen: argparse.Namespace) -> Iterator[str]:
    """Lines of the table: one per variant."""
    data = load_training_data(open_avatar(chosen.avatar[-1]), ENCODER, chosen.held_out)
    judge = WarpJudge(data)
    yield "| | LPIPS | PSNR, dB | sharpness | opening: correlation | amplitude | flicker | GMAC | training images/s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for variant in warp_variants():
        if wanted(variant.name, chosen):
            run = Experiment(variant, data, GeneratorOptions(steps=chosen.steps), ENCODER)
            begun = time.perf_counter()
            run.train()
            rate = chosen.steps * run.options.batch / (time.perf_counter() - begun)
            yield f"| {variant.name} | {judge(run)} | {gmac(run):.2f} | {rate:.0f} |"


class WarpJudge:
    """Figures of a trained warp network over the same held-out frames."""

    def __init__(self, data: TrainingData) -> None:
        self.data, self.lpips, self.mesh = data, Lpips(), FaceMesh()
        self.weight = mask(data.avatar.crop) > 0.5
        starts = run_starts(data.held_out, data.shots.numpy(), 2)
        starts = starts[np.linspace(0, len(starts) - 1, PAIRS).astype(int)]
        self.frames = (starts[:, None] + np.arange(2)).reshape(-1)  # in pairs, for networks that draw pairs
        self.run = run_starts(data.held_out, data.shots.numpy(), RUN)[0] + np.arange(RUN)
        places = in_crop(data.landmarks, data.avatar.track().transforms)[self.frames]
        self.opening: Callable[[np.ndarray], np.ndarray] = lambda crops: openings(self.mesh, crops, places)

    def __call__(self, run: Experiment) -> str:
        """Cells."""
        data, weight = self.data, self.weight
        drawn, real = self.draw(run, self.frames), np.array(data.crops[self.frames])
        rows, columns = run.warp.box
        parts = [slice(k, k + 20) for k in range(0, len(drawn), 20)]
        with torch.no_grad():
            boxes = [(to_input(x[p][:, rows, columns]) for x in (drawn, real)) for p in parts]
            lpips = torch.cat([self.lpips(*box) for box in boxes]).mean()
        psnr = np.mean([metrics.psnr(a, b, weight) for a, b in zip(drawn, real, strict=True)])
        sharpness = [np.mean([metrics.sharpness(image, weight) for image in images]) for images in (drawn, real)]
        mouths = self.opening(drawn), self.opening(real)
        moving = metrics.flicker(self.draw(run, self.run), weight) / metrics.flicker(data.crops[self.run], weight)
        figures = (psnr, sharpness[0] / sharpness[1], metrics.correlation(*mouths), mouths[0].std() / mouths[1].std())
        return f"{lpips:.4f} | " + " | ".join(f"{figure:.2f}" for figure in (*figures, moving))

    @torch.no_grad()
    def draw(self, run: Experiment, frames: np.ndarray) -> np.ndarray:
        """(n, S, S, 3) uint8."""
        dtype, parts = autocast_dtype(torch.device("cpu")), []
        for k in range(0, len(frames), 10):
            some = frames[k : k + 10]
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                parts.append(to_uint8(run.generator.warp(to_input(self.data.crops[some]), run.conditions[some])))
        return np.concatenate(parts)


@torch.no_grad()
def gmac(run: Experiment) -> float:
    """Of one frame."""
    network, size = run.generator.warp, run.generator.config.warp.size
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, 3, size, size), run.conditions[:2])
    return counter.get_total_flops() / 4e9


def motion(chosen: argparse.Namespace) -> Iterator[str]:
    """Lines of the table: one per variant; each is trained for every avatar, the last one is judged."""
    data = [load_training_data(open_avatar(root), ENCODER, chosen.held_out) for root in chosen.avatar]
    judge = MotionJudge(data[-1], [part.avatar for part in data[:-1]] + [open_avatar(root) for root in chosen.other])
    yield f"| | {' | '.join(MotionJudge.COLUMNS)} | seconds |"
    yield "|---" * (len(MotionJudge.COLUMNS) + 2) + "|"
    other = None
    for variant in motion_variants():
        if not wanted(variant.name, chosen) or (variant.started and len(data) == 1):
            continue
        if variant.started:
            other = learnt_motion(variant, data[0], chosen.steps, None, sounds(variant, data[0].avatar))
        start = other.motion if variant.started and other else None
        heard, begun = sounds(variant, data[-1].avatar), time.perf_counter()
        generator = learnt_motion(variant, data[-1], chosen.steps, start, heard)
        seconds = time.perf_counter() - begun
        yield f"| {variant.name} | {judge(generator)} | {seconds:.0f} |"


def learnt_motion(
    variant: MotionVariant, data: TrainingData, steps: int, start: MotionNet | None, heard: TrainingSounds
) -> Generator:
    """`heard`: see `sounds`."""
    sizes = MotionConfig(**{**MotionConfig(data.features.shape[1]).to_dict(), **variant.sizes})
    spec = data.avatar.crop
    torch.manual_seed(variant.seed)
    training = MotionTrainingConfig() if variant.silence else MotionTrainingConfig(silent_weight=0.0)
    config = GeneratorConfig(sizes, WarpConfig(spec.size), data.points.shape[1], variant.adaptation, training)
    generator = Generator(config, spec)
    generator.fit_shape_space(data.points[data.train_frames])
    for k, member in enumerate(generator.motion.members):
        if variant.change is not None:
            variant.change(member)  # pyright: ignore[reportArgumentType]
        if start is not None:  # all but what names this person's shapes
            weights = start.members[k].state_dict()
            member.load_state_dict({n: w for n, w in weights.items() if not n.startswith("output_proj")}, strict=False)
    shapes = generator.encode_shapes(data.points)
    generator.rest_pose.copy_(rest_shape(data, shapes))
    sound = ClipSound(data)
    fit_feature_statistics(generator, data, shapes, sound)
    chunks = Chunks(generator, data, heard, sound.spoken)
    for _ in MotionTraining(generator, data, shapes, chunks, seed=variant.seed).steps(Schedule(steps, None)):
        pass
    if not variant.gain:
        generator.motion.variance_gain.fill_(1)
    return generator.eval()


def sounds(variant: MotionVariant, avatar: Avatar) -> TrainingSounds:
    """What a variant is trained on beside the clip's plain sound."""
    silences = augmented_features.extract_silences(avatar, ENCODER).run()
    waveform, others = load_waveform(avatar.audio), []
    for one in variant.disguises:
        heard = features.extract(augmentation.augmented(waveform, one), ENCODER)
        others.append(augmented_features.AugmentedFeatures(heard.values, one.tempo))
    return TrainingSounds(others, silences)


class MotionJudge:
    """The mouth opening of its shapes beside the true one: on held-out frames, in the clip's voice and in others, and
    on all frames of other people. Amplitudes are parts of the true one on the held-out frames. How far off its rest
    the mouth is in noise that nobody has heard before, as a part of how far its shapes are from their mean."""

    COLUMNS = (
        *("opening: correlation", "amplitude", "in other voices: correlation", "amplitude"),
        *("other people: correlation", "amplitude", "faint noise: off its rest"),
    )

    def __init__(self, data: TrainingData, people: list[Avatar]) -> None:
        self.data, self.people = data, [open_person(one.root) for one in people]
        own = load_waveform(data.avatar.audio)
        noise = np.random.default_rng(9).normal(size=16000 * 10) * 10 ** (-60 / 20)
        waveforms = [own, *(with_pitch(own, semitones) for semitones in SEMITONES), noise.astype(np.float32)]
        *self.voices, self.noise = [(features.extract(waveform, ENCODER), waveform) for waveform in waveforms]

    def __call__(self, generator: Generator) -> str:
        """Cells."""
        data = self.data
        true = opening(generator, generator.encode_shapes(data.points[data.held_out]))

        def judged(told: np.ndarray, real: np.ndarray) -> tuple[float, float]:
            return metrics.correlation(told, real), float(told.std() / true.std())

        voices = [
            judged(openings_to(generator, *voice, data.audio_times_s(data.held_out)), true) for voice in self.voices
        ]
        people = [judged(*openings_of(generator, other)) for other in self.people]
        heard, waveform = self.noise
        still = mouth_shapes(generator, heard, np.arange(1, 9, 0.04), waveform, rest=False)
        usual = generator.encode_shapes(data.points[data.held_out]).norm(dim=1).mean()
        off = float((still - generator.rest_pose).norm(dim=1).mean() / usual)
        theirs = np.mean(people, axis=0) if people else (np.nan, np.nan)
        return " | ".join(f"{value:.3f}" for value in (*voices[0], *np.mean(voices[1:], axis=0), *theirs, off))


def write(lines: list[str], chosen: argparse.Namespace) -> None:
    names = [root.name for root in chosen.avatar]
    command = f"python -m benchmarks.ablations {chosen.part} {' '.join(f'--avatar {name}' for name in names)}"
    command += "".join(f" --other {root.name}" for root in chosen.other)
    command += f" --held-out {chosen.held_out:g} --steps {chosen.steps}"
    about = f"{names[-1]}, held-out frames, {chosen.steps} steps each, one thing changed at a time. "
    about += "Differences smaller than between the seeds of “as it is” say nothing."
    write_table(f"ablations_{chosen.part}_{names[-1]}", f"Ablations: the {chosen.part} network", about, lines, command)


if __name__ == "__main__":
    main()
