"""What other voices do to the mouth: `python -m benchmarks.voices --avatar DIR --other DIR`.

For every avatar a motion network is trained, and judged without and with the motion prior. Then the held-out speech is
changed in pitch and formants, drowned in noise and music, squeezed through a codec, shuffled, and spoken by synthetic
voices; the true motion of the mouth stays what it was. Other people speak, too, whose own mouths are the truth. Judged
are the mouth shapes, before any pixels. The table goes to benchmarks/results/voices.md.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import soxr
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.closure import bilabials, gaps, standardised, wider_by
from benchmarks.people import ENCODER, Others, Person, open_person, strangers
from benchmarks.sounds import music
from benchmarks.spoken_text import Sentence, aligned, same_moments, spoken, synthetic_voices
from benchmarks.tables import write_table
from udh_core import metrics
from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.face.mouth import lip_gap
from udh_core.inference.driving import mouth_shapes
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.motion_prior import MotionPrior, open_prior
from udh_core.models.warping import WarpConfig
from udh_core.speech import features
from udh_core.speech.augmentation import (
    add_noise,
    formant_shift,
    silent_waveforms,
    through_codec,
    with_length,
)
from udh_core.speech.features import AudioFeatures
from udh_core.training.augmented_features import extract_augmented, extract_silences
from udh_core.training.calibration import ClipSound, fit_feature_statistics, rest_shape, without_outliers
from udh_core.training.loop import Schedule
from udh_core.training.motion import Chunks, MotionTraining, TrainingSounds
from udh_core.training.options import GeneratorOptions

MOST_SHIFT = 4  # frames
PIECE_S, SHUFFLES = 0.4, 5  # of the sound that is shuffled, and how often
LEAD_S = 6.0  # of the sound before the held-out part is encoded with it, in the other voices
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--other", type=Path, action="append", default=[], help="avatars of people to listen to, too")
    parser.add_argument("--words", type=Path, action="append", default=[], help="of the first ones, in their order")
    parser.add_argument("--speakers", type=Path, help="the folder of speakers of which the prior was made")
    parser.add_argument("--steps", type=int, default=GeneratorOptions.motion_steps, help="of each motion network")
    parser.add_argument("--held-out", type=float, default=0.1)
    chosen = parser.parse_args()
    roots = (*chosen.avatar, *chosen.other)
    people = [open_person(root, words) for root, words in zip_longest(roots, chosen.words)]
    others = Others(people, strangers(chosen.speakers) if chosen.speakers else [])
    lines: dict[str, list[str]] = {}
    for number, root in enumerate(chosen.avatar):
        data = load_training_data(open_avatar(root), ENCODER, chosen.held_out)
        for name, *cells in judged(trained(data, open_prior(), chosen.steps), data, others, people[number].sentences):
            line = lines.setdefault(name, ["–"] * 2 * len(chosen.avatar))  # nobody is a stranger to himself
            line[2 * number : 2 * number + 2] = cells
            console.print(root.name, name, *cells)
    write(lines, chosen)


def write(cells_of: dict[str, list[str]], chosen: argparse.Namespace) -> None:
    names = [f"{root.name}, {which} the prior" for root in chosen.avatar for which in ("without", "with")]
    lines = [f"| driven by | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in cells_of.items()]
    command = "python -m benchmarks.voices" + "".join(f" --avatar {root.name}" for root in chosen.avatar)
    command += "".join(f" --words {table.name}" for table in chosen.words)
    command += "".join(f" --other {root.name}" for root in chosen.other)
    command += (" --speakers …" if chosen.speakers else "") + f" --steps {chosen.steps}"
    about = (
        "Correlation of the mouth opening with the true one / its amplitude (1 = as in the held-out frames), shapes "
        f"only: held-out frames, and all frames of other people, whose opening is theirs, at that shift of their sound "
        f"by {MOST_SHIFT} frames at most that makes it largest. Synthetic voices speak the words of the held-out part; "
        "dynamic time warping says when. In silence: how far the lips are from the rest pose, before the rule for it. "
        "p, b, m: by how much the least gap of the lips is wider than the true one, standard deviations of the true "
        "opening (other people's are standardised, predicted and true); in brackets how many there are."
    )
    console.print(write_table("voices", "Other voices", about, lines, command))


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


def judged(
    generators: tuple[Generator, ...], data: TrainingData, others: Others, sentences: list[Sentence]
) -> Iterator[tuple[str, ...]]:
    """What the mouth is driven by, and a cell for what each generator, all of one avatar, makes of it."""
    own = opening(generators[0], generators[0].encode_shapes(data.points[data.held_out]))
    times_s, waveform = held_out_sound(data)
    for name, changed in voices(waveform):
        rows = features.extract(changed, ENCODER)
        yield name, *(cell(openings_to(one, rows, changed, times_s), own, own) for one in generators)
    yield "shuffled (floor)", *(in_words(floor(one, data)) for one in generators)
    yield "silence", *(f"– / {unrest(one) / own.std():.2f}" for one in generators)
    if sentences:
        yield "p, b, m, own voice: gap, wider by", *(own_closure(one, data, sentences) for one in generators)
        yield from by_synthetic_voices(generators, data, sentences)
    yield from by_others(generators, data.avatar.root.name, others, own)
    yield (
        "p, b, m, other people: gap, wider by",
        *(others_closure(one, others, data.avatar.root.name) for one in generators),
    )


def by_synthetic_voices(
    generators: tuple[Generator, ...], data: TrainingData, sentences: list[Sentence]
) -> Iterator[tuple[str, ...]]:
    """Rows of `judged`: the sentences of the held-out part."""
    times_s = data.audio_times_s(data.held_out)
    said = [sentence for sentence in sentences if sentence.end_s > times_s[0]]
    start_s, end_s = said[0].start_s, said[-1].end_s
    within = (times_s >= start_s) & (times_s <= end_s)
    true = opening(generators[0], generators[0].encode_shapes(data.points[data.held_out[within]]))
    low, high = round(start_s * data.rate_hz), round(end_s * data.rate_hz)
    found = []
    for name, voice in synthetic_voices().items():
        sound = spoken(said, voice)
        rows = features.extract(sound, ENCODER)
        moments_s = same_moments(
            np.array(data.features[low:high]), rows, data.rate_hz, times_s[within] - low / data.rate_hz
        )
        found.append([figures(openings_to(one, rows, sound, moments_s), true, true) for one in generators])
        yield f"its words by {name}", *(in_words(one) for one in found[-1])
    yield "its words by synthetic voices, mean", *(in_words(one) for one in np.mean(found, axis=0))


def by_others(
    generators: tuple[Generator, ...], name: str, others: Others, own: np.ndarray
) -> Iterator[tuple[str, ...]]:
    """Rows of `judged`; name: of the avatar. own (n,): its opening in the held-out frames."""
    for people, title in ((others.avatars, "other people"), (others.clips, "people in short clips")):
        found = []
        for person in people:
            if person.name != name:
                found.append([figures(*openings_of(one, person), own) for one in generators])
                if people is others.avatars:
                    yield f"{person.name} speaking", *(in_words(one) for one in found[-1])
        if found:
            yield f"{title}, mean of {len(found)}", *(in_words(one) for one in np.mean(found, axis=0))
            ends = np.min(found, axis=0)[:, 0], np.max(found, axis=0)[:, 0]
            yield f"{title}, least and most", *(f"{low:.2f}, {high:.2f}" for low, high in zip(*ends, strict=True))


def floor(generator: Generator, data: TrainingData) -> tuple[float, float]:
    """Mean `figures` with the sound of the held-out part cut into pieces and shuffled."""
    times_s, waveform = held_out_sound(data)
    own = opening(generator, generator.encode_shapes(data.points[data.held_out]))
    rng, size = np.random.default_rng(0), round(PIECE_S * SAMPLE_RATE_HZ)
    pieces = waveform[len(waveform) % size :].reshape(-1, size)
    found = []
    for _ in range(SHUFFLES):
        shuffled = rng.permutation(pieces).ravel()
        found.append(figures(openings_to(generator, features.extract(shuffled, ENCODER), shuffled, times_s), own, own))
    return float(np.mean([one[0] for one in found])), float(np.mean([one[1] for one in found]))


def own_closure(generator: Generator, data: TrainingData, sentences: list[Sentence]) -> str:
    """By the own voice, in the held-out frames."""
    waveform, times_s = load_waveform(data.avatar.audio), data.audio_times_s(data.held_out)
    phones = bilabials(list(aligned(waveform, [one for one in sentences if one.end_s > times_s[0]])), times_s)
    true = opening(generator, generator.encode_shapes(data.points[data.held_out]))
    rows = features.load(data.avatar.root / "features", ENCODER)
    found = gaps(openings_to(generator, rows, waveform, times_s), true, times_s, phones)
    return closure_in_words(found, float(true.std()))


def others_closure(generator: Generator, others: Others, name: str) -> str:
    """By other people's voices, all of which know what they say; openings are standardised."""
    found = []
    for person in others.avatars:
        if person.name != name and person.sentences:
            shift, predicted = predicted_of(generator, person)
            times_s = (person.frames + 0.5 + shift) / person.fps
            phones = bilabials(list(aligned(person.waveform, person.sentences)), times_s)
            found.append(gaps(standardised(predicted), standardised(person.opening), times_s, phones))
    return closure_in_words(np.concatenate(found, axis=1), 1.0) if found else "–"


def closure_in_words(found: np.ndarray, spread: float) -> str:
    mean, wider = wider_by(found, spread)
    return f"{mean:+.2f}, where wider {wider:.2f} ({found.shape[1]})"


def unrest(generator: Generator) -> float:
    """How far the lips are from those of the rest pose in silence and faint noise, root mean square, face units."""
    rest = opening(generator, generator.rest_pose[None])
    found = []
    for waveform in silent_waveforms():
        times_s = np.arange(1.0, len(waveform) / SAMPLE_RATE_HZ - 1, 0.04)
        found.append(openings_to(generator, features.extract(waveform, ENCODER), waveform, times_s) - rest)
    return float(np.sqrt(np.mean(np.square(found))))


def figures(predicted: np.ndarray, true: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Correlation with the true opening (n,), and amplitude as a part of that of the own one."""
    return metrics.correlation(predicted, true), float(predicted.std() / own.std())


def in_words(found: tuple[float, float]) -> str:
    return f"{found[0]:.3f} / {found[1]:.2f}"


def cell(predicted: np.ndarray, true: np.ndarray, own: np.ndarray) -> str:
    return in_words(figures(predicted, true, own))


def held_out_sound(data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) of the held-out frames, s, within a waveform (m,) that begins a little before them."""
    times_s = data.audio_times_s(data.held_out)
    start = max(0, round((times_s[0] - LEAD_S) * SAMPLE_RATE_HZ))
    return times_s - start / SAMPLE_RATE_HZ, load_waveform(data.avatar.audio)[start:]


def openings_of(generator: Generator, other: Person) -> tuple[np.ndarray, np.ndarray]:
    """(k,) predicted from another person's speech, and theirs."""
    return predicted_of(generator, other)[1], other.opening


def predicted_of(generator: Generator, other: Person) -> tuple[int, np.ndarray]:
    """By how many frames another person's sound is late, and (k,) what is predicted of it.

    Sound and mouth of found clips are up to a tenth of a second apart: of a few shifts the one that explains most.
    """
    times_s = (np.arange(-MOST_SHIFT, other.frame_count + MOST_SHIFT) + 0.5) / other.fps
    predicted = openings_to(generator, other.speech, other.waveform, times_s)
    shifts = range(-MOST_SHIFT, MOST_SHIFT + 1)
    shifted = [(shift, predicted[other.frames + MOST_SHIFT + shift]) for shift in shifts]
    return max(shifted, key=lambda one: metrics.correlation(one[1], other.opening))


def openings_to(generator: Generator, rows: AudioFeatures, waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) at these times (n,), adapted to the voice, before the rule for silence."""
    return opening(generator, mouth_shapes(generator, rows, times_s, waveform, rest=False))


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
        yield f"music, {decibels} dB below", own + music(len(own)) * np.float32(own.std() * 10 ** (-decibels / 20))
    for codec, rate in (("libmp3lame", "24k"), ("libopus", "12k")):
        yield f"{codec.removeprefix('lib')} at {rate}bit/s", through_codec(own, codec, rate)


def with_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """(n,) → (n,) float32, pitch and formants changed together."""
    ratio = 2 ** (semitones / 12)
    faster = soxr.resample(waveform, SAMPLE_RATE_HZ * ratio, SAMPLE_RATE_HZ)
    return with_length(faster, len(waveform))


def opening(generator: Generator, shapes: Tensor) -> np.ndarray:
    """(n,) gap of the inner lips, face units, of shapes (n, shape_width); lips beyond each other are closed."""
    points = (shapes * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    return np.maximum(lip_gap(points.unflatten(1, (-1, 2)).numpy()), 0)


if __name__ == "__main__":
    main()
