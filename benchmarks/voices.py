"""What other voices do to the mouth: `python -m benchmarks.voices --avatar DIR --other DIR`.

For every avatar a motion network is trained, and judged without and with the motion prior. Then the held-out speech is
changed in pitch and formants, drowned in noise, squeezed through a codec; the true motion of the mouth stays what it
was. Other people speak, too, whose own mouths are the truth. Judged are the mouth shapes, before any pixels. The table
goes to benchmarks/results/voices.md.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

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
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.motion_prior import MotionPrior, open_prior
from udh_core.models.warping import WarpConfig
from udh_core.speech import features
from udh_core.speech.augmentation import add_noise, formant_shift, through_codec, with_length
from udh_core.speech.features import AudioFeatures
from udh_core.training.augmented_features import extract_augmented, extract_silences
from udh_core.training.calibration import ClipSound, fit_feature_statistics, rest_shape, without_outliers
from udh_core.training.loop import Schedule
from udh_core.training.motion import Chunks, MotionTraining, TrainingSounds
from udh_core.training.options import GeneratorOptions

ENCODER = "whisper-tiny"
MOST_SHIFT = 4  # frames
LEAD_S = 6.0  # of the sound before the held-out part is encoded with it, in the other voices
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--other", type=Path, action="append", default=[], help="avatars of people to listen to, too")
    parser.add_argument("--steps", type=int, default=GeneratorOptions.motion_steps, help="of each motion network")
    parser.add_argument("--held-out", type=float, default=0.1)
    chosen = parser.parse_args()
    people = [open_person(root) for root in (*chosen.avatar, *chosen.other)]
    rows: dict[str, list[str]] = {}
    for number, root in enumerate(chosen.avatar):
        data = load_training_data(open_avatar(root), ENCODER, chosen.held_out)
        for name, *cells in judged(trained(data, open_prior(), chosen.steps), data, people):
            row = rows.setdefault(name, ["–"] * 2 * len(chosen.avatar))  # nobody is a stranger to himself
            row[2 * number : 2 * number + 2] = cells
            console.print(root.name, name, *cells)
    write(rows, chosen)


def write(rows: dict[str, list[str]], chosen: argparse.Namespace) -> None:
    names = [f"{root.name}, {which} the prior" for root in chosen.avatar for which in ("without", "with")]
    lines = [f"| what is heard | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    command = "python -m benchmarks.voices" + "".join(f" --avatar {root.name}" for root in chosen.avatar)
    command += "".join(f" --other {root.name}" for root in chosen.other) + f" --steps {chosen.steps}"
    about = (
        "Correlation of the mouth opening with the true one / its amplitude (1 = as in the held-out frames), shapes "
        f"only: held-out frames, and all frames of other people, whose opening is theirs, at that shift of their sound "
        f"by {MOST_SHIFT} frames at most that makes it largest."
    )
    console.print(write_table("voices", "Other voices", about, lines, command))


def open_person(root: Path) -> Avatar:
    """An avatar that is looked at and listened to only."""
    return open_avatar(root, ("video", "audio", "track"))


def trained(data: TrainingData, prior: MotionPrior, steps: int, seed: int = 0) -> tuple[Generator, Generator]:
    """Without and with the prior: generators whose motion networks alone are trained; their members are the same."""
    motion, spec = MotionConfig(data.features.shape[1], prior=prior.config), data.avatar.crop
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(motion, WarpConfig(spec.size), data.points.shape[1]), spec)
    generator.motion.set_prior(prior)
    data = without_outliers(generator, data)
    shapes, sound = generator.encode_shapes(data.points), ClipSound(data)
    generator.rest_pose.copy_(rest_shape(data, shapes))
    fit_feature_statistics(generator, data, shapes, sound)
    sounds = TrainingSounds(extract_augmented(data.avatar, ENCODER).run(), extract_silences(data.avatar, ENCODER).run())
    chunks, members = Chunks(generator, data, sounds, sound.spoken), set()
    for _ in MotionTraining(generator, data, shapes, chunks, seed=seed, trained=members).steps(Schedule(steps, None)):
        pass
    without = copy.deepcopy(generator)
    without.motion.prior = None
    for _ in MotionTraining(without, data, shapes, chunks, trained=members).steps(Schedule(steps, None)):
        pass  # nothing is left to train: the gain is fitted
    return without.eval(), generator.eval()


def judged(generators: tuple[Generator, ...], data: TrainingData, people: list[Avatar]) -> Iterator[tuple[str, ...]]:
    """What is heard, and a cell for what each generator, all of one avatar, makes of it."""
    own = opening(generators[0], generators[0].encode_shapes(data.points[data.held_out]))
    times_s, waveform = held_out_sound(data)
    for name, changed in voices(waveform):
        heard = features.extract(changed, ENCODER)
        yield name, *(cell(openings_to(one, heard, changed, times_s), own, own) for one in generators)
    found = []
    for other in people:
        if other.root != data.avatar.root:
            pairs = [openings_of(one, other, ENCODER) for one in generators]
            found.append([figures(told, true, own) for told, true in pairs])
            yield f"{other.root.name} speaking", *(in_words(one) for one in found[-1])
    if found:
        yield "other people, mean", *(in_words(one) for one in np.mean(found, axis=0))


def figures(told: np.ndarray, true: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Correlation with the true opening (n,), and amplitude as a part of that of the own one."""
    return metrics.correlation(told, true), float(told.std() / own.std())


def in_words(found: tuple[float, float]) -> str:
    return f"{found[0]:.3f} / {found[1]:.2f}"


def cell(told: np.ndarray, true: np.ndarray, own: np.ndarray) -> str:
    return in_words(figures(told, true, own))


def held_out_sound(data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) of the held-out frames, s, within a waveform (m,) that begins a little before them."""
    times_s = data.audio_times_s(data.held_out)
    start = max(0, round((times_s[0] - LEAD_S) * SAMPLE_RATE_HZ))
    return times_s - start / SAMPLE_RATE_HZ, load_waveform(data.avatar.audio)[start:]


def openings_of(generator: Generator, other: Avatar, encoder: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) predicted from another person's speech, and theirs.

    Sound and mouth of found clips are up to a tenth of a second apart: of a few shifts the one that explains most.
    """
    track, fps, waveform = other.track(), float(other.info.fps), load_waveform(other.audio)
    frames = np.flatnonzero(track.valid & track.present)
    heard = features.extract_to(other.root / "features", waveform, encoder).run()
    times_s = (np.arange(-MOST_SHIFT, other.info.frame_count + MOST_SHIFT) + 0.5) / fps
    told, true = openings_to(generator, heard, waveform, times_s), mouth_opening(track.landmarks[frames])
    shifted = [told[frames + shift] for shift in range(2 * MOST_SHIFT + 1)]
    return max(shifted, key=lambda one: metrics.correlation(one, true)), true


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
    return with_length(faster, len(waveform))


def heard_s(data: TrainingData) -> np.ndarray:
    return data.audio_times_s(data.held_out)


def opening(generator: Generator, shapes: Tensor) -> np.ndarray:
    """(n,) gap of the inner lips, face units, of shapes (n, shape_width); lips beyond each other are closed."""
    points = (shapes * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    return np.maximum(lip_gap(points.unflatten(1, (-1, 2)).numpy()), 0)


if __name__ == "__main__":
    main()
