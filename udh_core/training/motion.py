"""Training of the motion network: audio features → mouth shapes. A minute on a CPU; no pictures are involved."""

from __future__ import annotations

from collections.abc import Generator as Steps
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..inference.driving import feature_shift, mean_of
from ..models.blocks import MotionMember
from ..models.generator import Generator
from ..models.tensors import interpolate_rows, training_dtype
from ..progress import Progress
from .augmented_features import AugmentedFeatures
from .calibration import movement_in_speech, predicted_part, spread_gain
from .loop import Schedule, StepReport, set_learning_rate, update
from .prior_head import (
    AUGMENTED_WEIGHT,
    SHARE,
    SILENT_WEIGHT,
    PriorHead,
    general_amplitude,
    general_head,
    hidden_at,
    hidden_rows,
)

FOLDS = 10
GUARD_S = 0.4  # around a left-out fold: its neighbours share its audio windows (0.56 s) and its movement; chosen


@dataclass(frozen=True)
class TrainingSounds:
    """Features that the motion network is trained on beside those of the clip."""

    augmented: list[AugmentedFeatures] = field(default_factory=list)
    silences: list[np.ndarray] = field(default_factory=list)  # (T, D) each: there the mouth takes its rest pose


class Chunks:
    """Draws batches of stretches of the clip, plain or augmented, and of silence."""

    def __init__(
        self,
        generator: Generator,
        data: TrainingData,
        sounds: TrainingSounds,
        spoken: np.ndarray,
    ) -> None:
        """spoken: (k,) rows of the clip's features with speech."""
        settings = self.settings = generator.config.motion_training
        self._motion = generator.motion
        self.frames = min(round(settings.chunk_s * float(data.avatar.info.fps)), len(data.points))
        self.rows = torch.from_numpy(data.rows_at(np.arange(len(data.points)))).float()  # (N,) of the frames
        self.plain = self._normalised(data.features)
        self.augmented = [(self._adapted(generator, one, spoken, data.rate_hz), one.speed) for one in sounds.augmented]
        self.silences = [self._normalised(rows) for rows in sounds.silences]

    def draw(self, known: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, t, D), positions of the frames in them (B, n), and the numbers of these frames (B, n).

        known: (N,) bool frames that may be trained on.
        """
        features, speed = self._choose(rng)
        batch = self.settings.batch
        starts = rng.choice(np.flatnonzero(known), batch) - rng.integers(0, self.frames, batch)
        starts = np.clip(starts, 0, len(known) - self.frames)
        numbers = torch.from_numpy(starts[:, None] + np.arange(self.frames))
        rows = (self.rows[numbers] + 0.5) / speed - 0.5
        first = rows[:, :1].floor().clamp_min(0)
        length = int((rows - first).max().ceil()) + 2
        source = (first.long() + torch.arange(length)).clamp_max(len(features) - 1)
        return features[source], rows - first, numbers

    def silent(self, length: int, rng: np.random.Generator) -> Tensor:
        """(1, length, D) from one of the recordings, which begin anew where they end."""
        rows = self.silences[int(rng.integers(len(self.silences)))]
        return rows[(int(rng.integers(len(rows))) + torch.arange(length)) % len(rows)][None]

    def _choose(self, rng: np.random.Generator) -> tuple[Tensor, float]:
        """(T, D) and its speed."""
        if self.augmented and rng.random() < self.settings.augmented_share:
            return self.augmented[int(rng.integers(len(self.augmented)))]
        return self.plain, 1.0

    def _normalised(self, rows: np.ndarray) -> Tensor:
        return self._motion.normalise(torch.from_numpy(np.array(rows, np.float32)))

    def _adapted(self, generator: Generator, one: AugmentedFeatures, spoken: np.ndarray, rate_hz: float) -> Tensor:
        """(T, D) normalised, and shifted as `inference.driving` does it for other speakers."""
        where = np.rint((spoken + 0.5) / one.speed - 0.5).astype(int).clip(0, len(one.rows) - 1)
        shift = feature_shift(generator, mean_of(one.rows, where), len(spoken) / rate_hz)
        return self._normalised(one.rows) + shift / self._motion.feature_std


class Folds:
    """The frames to train on, cut into tenths; each member of the ensemble leaves one out, to be validated on it."""

    def __init__(self, data: TrainingData, members: int) -> None:
        known = np.zeros(len(data.points), bool)
        known[data.train_frames] = True
        self.tenths = np.array_split(data.train_frames, FOLDS)
        self.numbers = [(2 + 3 * k) % FOLDS for k in range(members)]  # of the tenths left out, spread over the clip
        self.left_out = [self.tenths[number] for number in self.numbers]
        self.known = [known.copy() for _ in range(members)]  # (N,) bool each
        guard = round(GUARD_S * float(data.avatar.info.fps))
        for k, frames in enumerate(self.left_out):
            self.known[k][max(0, frames[0] - guard) : frames[-1] + guard] = False


class MotionTraining:
    """Trains the members of a generator's motion network one after the other, on the CPU: it is small.

    Each keeps the weights that were best on its left-out tenth. `trained` holds the members that are done; it grows,
    so that a stopped run can go on. The statistics of the features have to be fitted before.
    """

    def __init__(
        self,
        generator: Generator,
        data: TrainingData,
        shapes: Tensor,
        chunks: Chunks,
        *,
        seed: int = 0,
        trained: set[int] | None = None,
    ) -> None:
        """shapes: (N, shape_width) float32 true shapes, in standard deviations."""
        self.generator, self.motion, self.rest = generator, generator.motion, generator.rest_pose.cpu()
        self.shapes, self.chunks, self.seed = shapes, chunks, seed
        self.trained: set[int] = set() if trained is None else trained
        self.movement = movement_in_speech(generator, data, shapes)
        self.folds = Folds(data, len(self.motion.members))
        self.same_shot = data.shots[1:] == data.shots[:-1]  # (N - 1,) bool
        # by the square root of how far a component moves the lips: the first would outweigh all others
        spread = (generator.shape_std / generator.shape_std.max()).sqrt()
        self.weight = (spread / spread.sum()).cpu()  # (shape_width,)

    def steps(self, schedule: Schedule) -> Steps[Progress, None, None]:
        """Train those that are not trained yet; `schedule` gives steps for each, or minutes for all together."""
        count = len(self.motion.members)
        minutes = schedule.minutes / count if schedule.minutes else None
        for k in sorted(set(range(count)) - self.trained):
            for report in self.train_member(k, Schedule(schedule.steps, minutes)):
                done = (k + report.done) / count
                steps = schedule.last_step
                yield StepReport.of("motion", report.step, done, report.losses, metrics=report.metrics, steps=steps)
            self.trained.add(k)
        outside = [self._left_out(k) for k in range(count)]
        hidden = None if self.motion.prior is None else hidden_rows(self.motion, self.chunks.plain)
        if hidden is not None:
            outside = self._with_prior(outside, hidden)
        gain = spread_gain(outside, self.chunks.settings)
        self.motion.variance_gain.copy_(gain)
        if self.generator.mouth_amplitude > 0:  # else it is unknown
            part = predicted_part(self.generator, [(predicted * gain, true) for predicted, true in outside])
            self.generator.mouth_amplitude.fill_(part * self.movement)
        if hidden is not None:
            self._fit_general_amplitude(hidden, torch.cat([predicted for predicted, _ in outside]) * gain)

    def train_member(self, k: int, schedule: Schedule) -> Steps[StepReport, None, None]:
        """Train one member of the ensemble."""
        member, settings = self._member(k), self.chunks.settings
        optimiser = torch.optim.AdamW(
            member.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        rest, best, best_weights, step = self.rest, float("inf"), None, 0
        while schedule.done(step) < 1:
            set_learning_rate(optimiser, schedule.learning_rate(step, settings.learning_rate, settings.warmup_steps))
            rng = np.random.default_rng((self.seed, k, step))
            found = update(member, optimiser, {"loss": self.loss(k, rest, rng)}, ("motion", step))
            step += 1
            metrics = {}
            if step % settings.check_every == 0 or schedule.done(step) >= 1:
                predicted, true = self._left_out(k)
                rest = self.rest / spread_gain([(predicted, true)], settings)  # the gain will make the rest pose of it
                score = float(((predicted - true).abs() * self.weight).sum(-1).mean())
                metrics = {"left_out_l1": score}
                if score < best:
                    best, best_weights = score, {n: p.detach().clone() for n, p in member.state_dict().items()}
            yield StepReport.of("motion", step, schedule.done(step), {"motion": found["loss"]}, metrics=metrics)
        if best_weights is not None:
            member.load_state_dict(best_weights)
        member.eval()

    def loss(self, k: int, rest: Tensor, rng: np.random.Generator) -> Tensor:
        """Of member k on a batch; rest (shape_width,) is what it shall say in silence."""
        settings = self.chunks.settings
        features, rows, numbers = self.chunks.draw(self.folds.known[k], rng)
        features = torch.cat([features, self.chunks.silent(features.shape[1], rng)])
        member, dtype = self._member(k).train(), training_dtype(torch.device("cpu"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            features = features + settings.noise * torch.randn_like(features)
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                predicted = member(features).float()
        known = torch.from_numpy(self.folds.known[k])[numbers]
        linked = known[:, 1:] & known[:, :-1] & self.same_shot[numbers[:, :-1]]
        loss = self._error(interpolate_rows(predicted[:-1], rows), self.shapes[numbers], known, linked)
        silent = ((predicted[-1] - rest).abs() * self.weight).sum(-1).mean()
        return loss + settings.silent_weight * silent

    def _error(self, predicted: Tensor, true: Tensor, known: Tensor, linked: Tensor) -> Tensor:
        """L1 on the shapes (B, n, S) and on their differences over time, components weighted by their movement.

        known (B, n) and linked (B, n - 1) bool say which count.
        """
        error = ((predicted - true).abs() * self.weight).sum(-1)
        steps = ((predicted.diff(dim=1) - true.diff(dim=1)).abs() * self.weight).sum(-1)
        return (error * known).sum() / known.sum().clamp_min(1) + (steps * linked).sum() / linked.sum().clamp_min(1)

    @torch.no_grad()
    def _left_out(self, k: int) -> tuple[Tensor, Tensor]:
        """(n, S) predicted by member k for its left-out frames, and true."""
        member, frames = self._member(k).eval(), self.folds.left_out[k]
        rows = self.chunks.rows[frames]
        return interpolate_rows(member(self.chunks.plain[None]), rows[None])[0], self.shapes[frames]

    @torch.no_grad()
    def _with_prior(self, outside: list[tuple[Tensor, Tensor]], plain: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Fit the heads on the prior; (n, S) predicted by members and the person's head for what every member left out,
        and true.

        outside: what the members predict of them. plain: (T, W) what the prior sees of the clip's speech.
        """
        motion, chunks, folds = self.motion, self.chunks, self.folds
        head = PriorHead(motion, FOLDS + 1)  # the last part is of silence, which every head knows
        for silence in chunks.silences:
            head.add(FOLDS, hidden_rows(motion, silence), self.rest.expand(len(silence), -1), SILENT_WEIGHT)
        for rows, speed in [(chunks.plain, 1.0), *chunks.augmented]:
            hidden = plain if rows is chunks.plain else hidden_rows(motion, rows)
            for tenth, frames in enumerate(folds.tenths):
                at = hidden_at(hidden, (chunks.rows[frames] + 0.5) / speed - 0.5)
                head.add(tenth, at, self.shapes[frames], 1.0 if rows is chunks.plain else AUGMENTED_WEIGHT)
        general = general_head(self.generator, self.shapes[np.concatenate(folds.tenths)])
        for layer, (weight, bias) in ((motion.prior_head, head.fit()), (motion.general_head, general)):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        motion.prior_share.fill_(SHARE)
        both = []
        for (predicted, true), tenth in zip(outside, folds.numbers, strict=True):
            weight, bias = head.fit(left_out=tenth)
            other = hidden_at(plain, chunks.rows[folds.tenths[tenth]]) @ weight.T + bias
            both.append((torch.lerp(predicted, other, motion.prior_share), true))
        return both

    @torch.no_grad()
    def _fit_general_amplitude(self, plain: Tensor, own: Tensor) -> None:
        """own: (n, S) predicted of the left-out frames of all members; plain as in `_with_prior`; gain included."""
        motion, folds = self.motion, self.folds
        rows = self.chunks.rows[np.concatenate(folds.left_out)]
        general = motion.general_head(hidden_at(plain, rows)) * motion.variance_gain
        motion.general_amplitude.fill_(general_amplitude(self.generator, general, own))

    def _member(self, k: int) -> MotionMember:
        return cast(MotionMember, self.motion.members[k])
