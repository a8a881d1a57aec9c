"""Learning the motion network: audio features → mouth shape. Takes a minute on a CPU; no pixels are involved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..inference.driving import LEAST_S, feature_shift, mean_of, mouth_amplitude, speech_rows
from ..media.audio import load_waveform
from ..models.generator import Generator
from ..models.motion import MotionMember
from ..models.tensors import interpolate_rows, training_dtype
from .augmented_features import AugmentedFeatures
from .loop import Schedule, StepReport, check_finite, clip_gradients, set_learning_rate

CHUNK_S = 4.0
BATCH = 16
MAX_GAIN = 1.5
TOLD = (0.3, 0.7)  # correlation from which, and at which fully, the spread of a component is brought back
DISGUISED = 0.5  # of the batches hear the speech in a augmentation
SILENT_WEIGHT = 1 / BATCH  # of the one silent stretch that every batch has beside its stretches of the clip
NOISE = 0.1  # added to the normalised features
_CHECK_EVERY = 50


class _Folds:
    """The learnt frames cut into tenths; each member of the ensemble leaves one out, to be judged on it."""

    def __init__(self, data: TrainingData, shapes: Tensor, members: int) -> None:
        self.rows = torch.from_numpy(data.rows_at(np.arange(len(shapes)))).float()
        self.shapes = shapes
        known = np.zeros(len(shapes), bool)
        known[data.train_frames] = True
        tenth = np.array_split(data.train_frames, 10)
        self.left_out = [tenth[(2 + 3 * k) % 10] for k in range(members)]
        self.known = [known.copy() for _ in range(members)]
        reach = round(0.4 * float(data.avatar.info.fps))
        for k, frames in enumerate(self.left_out):
            self.known[k][max(0, frames[0] - reach) : frames[-1] + reach] = False
        self.same_shot = (data.shots[1:] == data.shots[:-1]).numpy()


class _Sounds:
    """What the network hears, normalised: the clip's sound, plain and in disguises, and recordings of silence."""

    def __init__(
        self,
        generator: Generator,
        plain: np.ndarray,
        others: list[AugmentedFeatures],
        silences: list[np.ndarray],
        spoken: np.ndarray,
        rate_hz: float,
    ) -> None:
        def normalised(rows: np.ndarray) -> Tensor:
            return generator.motion.normalise(torch.from_numpy(np.array(rows, np.float32)))

        def adapted(heard: AugmentedFeatures) -> Tensor:
            """As `speaker` does it when somebody else speaks."""
            where = np.rint((spoken + 0.5) / heard.speed - 0.5).astype(int).clip(0, len(heard.rows) - 1)
            shift = feature_shift(generator, mean_of(heard.rows, where), len(spoken) / rate_hz)
            return normalised(heard.rows) + shift / generator.motion.feature_std

        self.plain = normalised(plain)
        self.others = [(adapted(heard), heard.speed) for heard in others]
        self.silences, self.rest = [normalised(rows) for rows in silences], generator.rest_pose.cpu()

    def choose(self, rng: np.random.Generator) -> tuple[Tensor, float]:
        """(T, D) and its speed."""
        if self.others and rng.random() < DISGUISED:
            return self.others[int(rng.integers(len(self.others)))]
        return self.plain, 1.0

    def silent(self, length: int, rng: np.random.Generator) -> Tensor:
        """(1, length, D) from one of the recordings, which begin anew where they end."""
        rows = self.silences[int(rng.integers(len(self.silences)))]
        return rows[(int(rng.integers(len(rows))) + torch.arange(length)) % len(rows)][None]


def _chunks(sounds: _Sounds, folds: _Folds, member: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """A batch of stretches: features (B, t, D), frame positions in them (B, n), shapes (B, n, S), known (B, n) bool."""
    known = folds.known[member]
    features, speed = sounds.choose(rng)
    starts = rng.choice(np.flatnonzero(known), BATCH)
    starts = np.clip(starts - rng.integers(0, frames, BATCH), 0, max(0, len(known) - frames))
    index = torch.from_numpy(starts[:, None] + np.arange(min(frames, len(known))))
    rows = (folds.rows[index] + 0.5) / speed - 0.5
    first = rows[:, :1].floor().clamp_min(0)
    length = int((rows - first).max().ceil()) + 2
    source = (first.long() + torch.arange(length)).clamp_max(len(features) - 1)
    return features[source], rows - first, folds.shapes[index], torch.from_numpy(known)[index], index


def _loss(predicted: Tensor, wanted: Tensor, known: Tensor, linked: Tensor, weight: Tensor) -> Tensor:
    """L1 on the values and on their differences over time, components weighted by the movement they stand for."""
    error = ((predicted - wanted).abs() * weight).sum(-1)
    steps = ((predicted.diff(dim=1) - wanted.diff(dim=1)).abs() * weight).sum(-1)
    pairs = known[:, 1:] & known[:, :-1] & linked
    return (error * known).sum() / known.sum().clamp_min(1) + (steps * pairs).sum() / pairs.sum().clamp_min(1)


@torch.no_grad()
def _predict(member: MotionMember, normalised: Tensor, rows: Tensor) -> Tensor:
    """(n, S) of one member, from features (T, D), at rows (n,)."""
    member.eval()
    return interpolate_rows(member(normalised[None]), rows[None])[0]


def _component_weights(generator: Generator) -> Tensor:
    std = generator.shape_std / generator.shape_std.max()
    return (std.sqrt() / std.sqrt().sum()).cpu()


def train_motion(
    generator: Generator,
    data: TrainingData,
    shapes: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    others: list[AugmentedFeatures],
    silences: list[np.ndarray],
    rate: float = 1e-3,
    trained: set[int] | None = None,
    models: Path | None = None,
) -> Iterator[StepReport]:
    """Train the members of `generator.motion` one after the other; keeps each one's best weights on its left-out tenth.

    shapes: (N, shape_width) float32 true shapes in standard deviations. Runs on the CPU: it is small.
    `others`: the same speech in disguises, see `disguises`. `silences`: in these the mouth is `generator.rest_pose`.
    `trained`: the members that need no training any more; it grows, so that a stopped run can go on.
    `models`: folder of the weight files.
    """
    trained = set() if trained is None else trained
    motion = generator.motion
    spoken = fit_feature_statistics(generator, data, shapes, models=models)
    sounds = _Sounds(generator, data.features, others, silences, spoken, data.rate_hz)
    folds = _Folds(data, shapes, len(motion.members))
    frames = round(CHUNK_S * float(data.avatar.info.fps))
    weight = _component_weights(generator)
    count = len(motion.members)
    for k in sorted(set(range(count)) - trained):
        share = Schedule(schedule.steps, schedule.minutes / count if schedule.minutes else None)
        run = _train_member(motion.members[k], sounds, folds, k, frames, weight, share, seed, rate)  # pyright: ignore[reportArgumentType]
        for report in run:
            yield StepReport("motion", report.step, (k + report.done) / count, report.losses, metrics=report.metrics)
        trained.add(k)
    outside = [
        (_predict(member, sounds.plain, folds.rows[left]), shapes[left])  # pyright: ignore[reportArgumentType]
        for member, left in zip(motion.members, folds.left_out, strict=True)
    ]
    motion.variance_gain.copy_(_gain(outside))


def fit_feature_statistics(
    generator: Generator, data: TrainingData, shapes: Tensor, *, models: Path | None = None
) -> np.ndarray:
    """Set what the learnt part of the clip tells of its voice and movement; (k,) rows of it with speech."""
    motion = generator.motion
    learnt = torch.from_numpy(np.array(data.features[: int(data.rows_at(data.train_frames[-1:])[0]) + 1], np.float32))
    motion.feature_mean.copy_(learnt.mean(0))
    motion.feature_std.copy_(learnt.std(0).clamp_min(1e-3))
    heard_s = data.audio_times_s(data.train_frames)
    spoken = speech_rows(load_waveform(data.avatar.audio), len(data.features), data.rate_hz, heard_s, models=models)
    motion.speech_mean.copy_(mean_of(data.features, spoken))
    moving = data.train_frames[data.spoken[data.train_frames]]
    known = min(len(spoken) / data.rate_hz, len(moving) / float(data.avatar.info.fps)) >= LEAST_S
    generator.mouth_amplitude.fill_(mouth_amplitude(generator, shapes[moving]) if known else 0.0)
    return spoken


def _train_member(
    member: MotionMember,
    sounds: _Sounds,
    folds: _Folds,
    index: int,
    frames: int,
    weight: Tensor,
    schedule: Schedule,
    seed: int,
    rate: float,
) -> Iterator[StepReport]:
    optimiser = torch.optim.AdamW(member.parameters(), lr=rate, weight_decay=0.02)
    linked, dtype = torch.from_numpy(folds.same_shot), training_dtype(torch.device("cpu"))
    left, rest = folds.left_out[index], sounds.rest
    best, best_weights, step = float("inf"), None, 0
    while schedule.done(step) < 1:
        rng = np.random.default_rng((seed, index, step))
        part, rows, wanted, known, places = _chunks(sounds, folds, index, frames, rng)
        part = torch.cat([part, sounds.silent(part.shape[1], rng)])
        set_learning_rate(optimiser, schedule.rate(step, rate, 50))
        member.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            part = part + NOISE * torch.randn_like(part)
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                told = member(part).float()
        loss = _loss(interpolate_rows(told[:-1], rows), wanted, known, linked[places[:, :-1]], weight)
        loss = loss + SILENT_WEIGHT * ((told[-1] - rest).abs() * weight).sum(-1).mean()
        check_finite(loss, "motion", step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(member, "motion", step)
        optimiser.step()
        step += 1
        metrics = {}
        if step % _CHECK_EVERY == 0 or schedule.done(step) >= 1:
            outside = _predict(member, sounds.plain, folds.rows[left])
            rest = sounds.rest / _gain([(outside, folds.shapes[left])])  # what the gain will make the rest of
            score = float(((outside - folds.shapes[left]).abs() * weight).sum(-1).mean())
            metrics = {"left_out_l1": score}
            if score < best:
                best, best_weights = score, {n: p.detach().clone() for n, p in member.state_dict().items()}
        yield StepReport("motion", step, schedule.done(step), {"motion": float(loss.detach())}, metrics=metrics)
    if best_weights is not None:
        member.load_state_dict(best_weights)
    member.eval()


def _gain(outside: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(shape_width,) what brings the spread of predictions on unheard speech back to the true spread, from both.

    The less the sound tells of a component the less of its spread is brought back: there, spread would be noise.
    """
    predicted, wanted = (torch.cat(part) for part in zip(*outside, strict=True))
    p, w = predicted - predicted.mean(0), wanted - wanted.mean(0)
    correlation = (p * w).mean(0) / (p.std(0) * w.std(0)).clamp_min(1e-6)
    ratio = (wanted.std(0) / predicted.std(0).clamp_min(1e-6)).clamp(1.0, MAX_GAIN)
    told = ((correlation - TOLD[0]) / (TOLD[1] - TOLD[0])).clamp(0, 1)
    return 1 + told * (ratio - 1)
