"""Training of the SyncNet: mouths and their own sound close together, other times of the same clip far apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..avatar.dataset import TrainingData, check_speech, load_training_data
from ..avatar.folder import Avatar
from ..errors import MediaError, MismatchError
from ..inference.sync_scorer import (
    MIN_SPOKEN,
    AudioSegment,
    SyncReport,
    load_mouths,
    open_syncnet,
    save_syncnet,
    sound_windows,
    sync_distances,
    window_rows,
)
from ..intervals import run_starts
from ..models import checkpoint
from ..models.checkpoint import Checkpoint
from ..models.memory import BatchLimit, is_out_of_memory
from ..models.syncnet import SyncNet, SyncNetConfig
from ..models.tensors import training_dtype
from ..progress import Progress, job
from . import run_log
from .calibration import trained_features
from .loop import (
    Averaged,
    RunState,
    Schedule,
    Speed,
    StepReport,
    apply_gradient,
    saving_at_the_end,
    set_learning_rate,
    take_over,
)
from .losses import contrastive
from .options import SyncNetOptions
from .processes import ALONE, Processes
from .run_log import Start

# All chosen, in trials on single clips.
NEIGHBOURS = 16  # windows of one neighbourhood in a batch: the hard negatives
SPAN = 24  # frames around its middle that a neighbourhood spans
SAME = 1  # frames: windows this close to each other are no negatives
NEAR = 15  # frames: those up to here are near misses
NEAR_WEIGHT = 3.0  # how much a near miss counts at the end of the run; at its start 1, like any other negative
DECAY = 0.995  # of the averaged weights
WEIGHT_DECAY = 0.05
LONGEST_GRADIENT = 1.0
# Augmentation of a stack of mouths: standard deviations, and shares of the stacks
ROTATION, ZOOM, SHIFT = 0.06, 0.06, 0.06  # radians, logarithm, half widths of the window
GAMMA = 0.15  # logarithm
BLURRED, PATCHED = 0.3, 0.2  # shares of the stacks
PIXEL_NOISE = 0.01
# and of the features of its sound
SOUND_GAIN, SOUND_NOISE = 0.1, 0.1  # the noise in standard deviations of each feature


@job
def train_syncnet(
    avatars: Avatar | Sequence[Avatar],
    out: str | Path,
    options: SyncNetOptions = SyncNetOptions(),
    *,
    encoder: str = "whisper-tiny",
    init: str | Path | None = None,
    start: Start = "new",
    models: Path | None = None,
    device: str = "cpu",
    processes: Processes = ALONE,
) -> Generator[Progress, None, Checkpoint]:
    """Train a SyncNet on one avatar, or a universal one on several; `out` gets the weights that did best on the
    held-out parts, described by the result.

    `init` is a SyncNet of the same encoder to take the first weights from; a run that goes on must have begun with the
    same one; `models` is the folder of the weight files. `start`, errors and Cancel as in `train_generator`.
    """
    out = Path(out)
    processes.check_batch(options.neighbourhoods * NEIGHBOURS, "or give more `neighbourhoods`")
    with run_log.opened(out, start, processes):
        yield Progress("training data", 0)
        persons = [avatars] if isinstance(avatars, Avatar) else list(avatars)
        data = [load_training_data(avatar, encoder, options.held_out, models=models) for avatar in persons]
        for person in data:
            check_speech(person)
        run = SyncNetRun(data, out, options, encoder, torch.device(device), processes)
        if init is not None:
            run.begin_from(Path(init))
        if not processes.is_first:
            yield from run.train()
            return run.info()
        goes_on = run_log.begin(out, start, run.info(), run.state.restore)
        log = run_log.open_log(out, run.state.step) if goes_on else run_log.RunLog(out)
        yield from log.follow(run.train())
        return checkpoint.read_info(out, "syncnet")


def augment_mouths(mouths: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, frames, h, w) 0..1 → the same, each stack changed as a whole: what says nothing about sync.

    Mirror, small affine, gamma, blur, a patch left out, noise.
    """
    batch, _, height, width = mouths.shape
    if rng.random() < 0.5:
        mouths = mouths.flip(-1)
    mouths = _moved(mouths, rng)
    gamma = torch.from_numpy(np.exp(rng.normal(0, GAMMA, (batch, 1, 1, 1)))).float()
    mouths = mouths.clamp(1e-3, 1) ** gamma
    soft = torch.from_numpy(rng.random(batch) < BLURRED)
    mouths[soft] = F.avg_pool2d(mouths[soft], 3, stride=1, padding=1, count_include_pad=False)
    for k in np.flatnonzero(rng.random(batch) < PATCHED):
        top = rng.integers(0, height - height // 4)
        left = rng.integers(0, width - width // 4)
        mouths[k, :, top : top + height // 4, left : left + width // 4] = 0.5
    return mouths + torch.from_numpy(rng.normal(0, PIXEL_NOISE, mouths.shape).astype(np.float32))


def _moved(mouths: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, frames, h, w), each stack turned, scaled and shifted a little."""
    batch, frames, height, width = mouths.shape
    angle = torch.from_numpy(rng.normal(0, ROTATION, batch)).float()
    scale = torch.from_numpy(np.exp(rng.normal(0, ZOOM, batch))).float()
    shift = torch.from_numpy(rng.normal(0, SHIFT, (batch, 2))).float()
    ratio = height / width
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cosine, -sine * ratio, shift[:, 0]], 1)
    bottom = torch.stack([sine / ratio, cosine, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([top, bottom], 1), [batch, frames, height, width], align_corners=False)
    return F.grid_sample(mouths, grid, padding_mode="border", align_corners=False)


def augment_sound(sound: Tensor, std: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, rows, D) → the same with a gain per window and noise, in units of the features' own spread `std` (D,)."""
    gain = torch.from_numpy(rng.normal(1, SOUND_GAIN, (len(sound), 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, SOUND_NOISE, sound.shape).astype(np.float32))
    return sound * gain + noise * std


def negative_weights(persons: np.ndarray, shots: np.ndarray, starts: np.ndarray, done: float) -> Tensor:
    """(B, B) for `contrastive`, of windows given by person, shot and first frame, each (B,).

    Other people and the very same moment are left out; near misses of one shot gain weight as the run goes on.
    """
    apart = np.abs(starts[:, None] - starts)
    one_shot = (persons[:, None] == persons) & (shots[:, None] == shots)
    weights = np.where(one_shot & (apart <= NEAR), done * np.log(NEAR_WEIGHT), 0.0)
    weights[(persons[:, None] != persons) | (one_shot & (apart <= SAME))] = -np.inf
    np.fill_diagonal(weights, 0.0)
    return torch.from_numpy(weights.astype(np.float32))


class _Person:
    """One avatar's windows: their mouths, and where they may begin."""

    def __init__(self, data: TrainingData, config: SyncNetConfig) -> None:
        self.data, self.config = data, config
        self.features = torch.from_numpy(np.array(data.features, np.float32))
        self.mouths = load_mouths(data.crops, data.avatar.crop, config)
        self.shots = data.shots.numpy()
        self.starts = run_starts(data.train_frames, self.shots, config.frames)
        if len(self.starts) < NEIGHBOURS:
            raise MediaError(f"{data.avatar.root}: too few frames in a row to train on; use a longer clip")
        spoken = data.spoken[self.starts[:, None] + np.arange(config.frames)].mean(1) >= MIN_SPOKEN
        self.middles = self.starts[spoken] if spoken.any() else self.starts

    def neighbourhood(self, rng: np.random.Generator) -> np.ndarray:
        """(NEIGHBOURS,) first frames of windows around a moment of speech, those of the same shot first."""
        middle = rng.choice(self.middles)
        near = self.starts[np.abs(self.starts - middle) <= SPAN]
        near = near[self.shots[near] == self.shots[middle]]
        chosen = rng.permutation(near)[:NEIGHBOURS]
        return np.concatenate([chosen, rng.choice(self.starts, NEIGHBOURS - len(chosen))])

    def stacks(self, starts: np.ndarray) -> Tensor:
        """(n, frames, height, width) float32 0..1."""
        return torch.from_numpy(self.mouths[starts[:, None] + np.arange(self.config.frames)]).float() / 255

    def sound(self, starts: np.ndarray) -> Tensor:
        """(n, rows, D): the features that belong to them."""
        middles_s = self.data.audio_times_s(starts + (self.config.frames - 1) / 2)
        return sound_windows(self.features, window_rows(middles_s, self.data.rate_hz, self.config))

    def distances(self, network: SyncNet) -> np.ndarray:
        held_out = self.data.held_out
        return sync_distances(
            network, self.data, self.mouths[held_out], held_out, AudioSegment.own(self.data, held_out)
        )


class SyncNetRun:
    """One training run: the persons, and the state that is saved."""

    def __init__(
        self,
        data: list[TrainingData],
        out: Path,
        options: SyncNetOptions,
        encoder: str,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.options, self.encoder, self.device, self.processes = options, encoder, device, processes
        config = SyncNetConfig(data[0].features.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = SyncNet(config)
        self.persons = [_Person(one, config) for one in data]
        features = torch.cat([trained_features(one) for one in data])
        network.feature_mean.copy_(features.mean(0))
        network.feature_std.copy_(features.std(0).clamp_min(1e-3))
        self.network = network.to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=WEIGHT_DECAY)
        self.state = RunState(out, network, network, optimiser, Averaged(network, DECAY))
        self.limit = BatchLimit(device, "batches of windows")
        self.begun_from = ""  # fingerprint of the SyncNet its first weights are of

    @property
    def identity(self) -> str:
        """Of the avatar, or of all of them together."""
        names = sorted(person.data.avatar.identity for person in self.persons)
        return names[0] if len(names) == 1 else hashlib.sha256("".join(names).encode()).hexdigest()[:16]

    def info(self) -> Checkpoint:
        """What the checkpoint says of itself now."""
        options = {**asdict(self.options), checkpoint.BEGUN_FROM: self.begun_from}
        names = ", ".join(sorted(person.data.avatar.person for person in self.persons))
        config = {"model": self.network.config.to_dict(), "options": options, checkpoint.PERSON: names}
        crop = self.persons[0].data.avatar.crop
        return Checkpoint("syncnet", config, self.state.step, self.encoder, crop, self.identity, self.state.metrics)

    def begin_from(self, path: Path) -> None:
        """Take the weights of another SyncNet; mean and spread of the features stay this avatar's own."""
        start = open_syncnet(path)
        if (start.info.encoder, start.network.config) != (self.encoder, self.network.config):
            raise MismatchError(
                f"{path} is for {start.info.encoder} features, this avatar's are {self.encoder}; prepare the avatar "
                "with that encoder, or start from another SyncNet"
            )
        own = {name: tensor.clone() for name, tensor in self.network.named_buffers()}
        self.network.load_state_dict({**start.network.state_dict(), **own})
        self.state.average = Averaged(self.network, DECAY)
        self.begun_from = checkpoint.fingerprint(path)

    def train(self) -> Generator[Progress, None, None]:
        """To the end of the schedule; the weights that do best on the held-out parts are kept."""
        options, state, is_first = self.options, self.state, self.processes.is_first
        take_over(self.processes, lambda: (self.info(), state.resume_state(state.spent_s)), state.restore)
        schedule, speed = Schedule(options.steps, options.minutes, state.spent_s), Speed()
        schedule.agree(self.processes)
        with saving_at_the_end(lambda: self.save(schedule)):
            if state.step == 0:
                self.save(schedule)  # from here on an earlier run's state is no longer the one to go on from
            while schedule.done(state.step) < 1:
                losses = self.step(schedule)
                schedule.agree(self.processes)
                rate, metrics = speed.after(options.neighbourhoods * NEIGHBOURS), {}
                if is_first and (schedule.done(state.step) >= 1 or state.step % options.check_every == 0):
                    metrics = self.validate(schedule.done(state.step))
                    self.save(schedule)
                done, steps = schedule.done(state.step), schedule.last_step
                yield StepReport.of("syncnet", state.step, done, losses, rate, metrics, steps=steps)
            if is_first and not state.out.is_file():  # nothing is left to train, but the file was taken away
                yield StepReport.of("syncnet", state.step, 1.0, {}, 0.0, self.validate(1.0))

    def step(self, schedule: Schedule) -> dict[str, float]:
        """One update; its loss. A batch that the device has no memory for goes to the CPU: it cannot be divided."""
        while True:
            try:
                return self._step(schedule)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.processes.count > 1:
                    raise
            self.limit.lower(1)
            self.device = self.limit.device
            self.state.to_cpu()

    def _step(self, schedule: Schedule) -> dict[str, float]:
        network, state = self.network, self.state
        rng = np.random.default_rng((self.options.seed, state.step))
        stacks, sound, weights = self.draw_batch(rng, schedule.done(state.step))
        sound = augment_sound(sound, network.feature_std.cpu(), rng)
        (rows, part), size = self.processes.share(len(stacks)), len(stacks)
        network.train()
        set_learning_rate(state.optimiser, schedule.learning_rate(state.step, self.options.learning_rate))
        dtype = training_dtype(self.device)
        with (
            torch.random.fork_rng(devices=[]),
            torch.autocast(self.device.type, dtype, enabled=dtype is not None),
        ):
            torch.manual_seed(int(rng.integers(2**31)))
            stacks = augment_mouths(stacks, rng)
            mouths, sounds = self.embed(stacks[rows].to(self.device), sound[rows].to(self.device))
        mouths, sounds = (self.processes.gathered(own, rows, size) for own in (mouths, sounds))
        loss = contrastive(mouths, sounds, network.log_temperature, weights.to(self.device), rows)
        state.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss, part)
        losses = self.processes.summed({"loss": loss.detach() * part})
        found = apply_gradient(network, state.optimiser, losses, ("SyncNet", state.step), LONGEST_GRADIENT)
        state.average.update(network)
        state.step += 1
        return found

    @cached_property
    def embed(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Mouths and their sound → their embeddings: of the own rows of a batch, where there are several processes."""
        network, size = self.network, self.options.neighbourhoods * NEIGHBOURS
        if self.processes.count > 1:
            network.expect(self.processes.share(size).rows, size)

        def embed(mouths: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
            return network.embed_mouths(mouths), network.embed_audio(sound)

        return self.processes.averaging(network, embed)

    def draw_batch(self, rng: np.random.Generator, done: float) -> tuple[Tensor, Tensor, Tensor]:
        """Stacks of mouths (B, frames, h, w), their sound (B, rows, D), and the weights of negatives (B, B).

        Persons come as often as they have moments of speech. done: 0..1 of the run.
        """
        share = np.array([len(person.middles) for person in self.persons], float)
        chosen = np.sort(rng.choice(len(self.persons), self.options.neighbourhoods, p=share / share.sum()))
        persons = [self.persons[k] for k in chosen]
        starts = [person.neighbourhood(rng) for person in persons]
        pairs = list(zip(persons, starts, strict=True))
        shots = np.concatenate([person.shots[first] for person, first in pairs])
        weights = negative_weights(np.repeat(chosen, NEIGHBOURS), shots, np.concatenate(starts), done)
        stacks = torch.cat([person.stacks(first) for person, first in pairs])
        return stacks, torch.cat([person.sound(first) for person, first in pairs]), weights

    def validate(self, done: float) -> dict[str, float]:
        """Figures of the averaged weights on the held-out parts; the weights are kept when they are the best so far."""
        with self.state.average.in_place(self.network):
            report = SyncReport.of(np.concatenate([person.distances(self.network) for person in self.persons]))
            metrics = report.to_dict()
            if self.state.beats(-report.auc, metrics, done):
                save_syncnet(self.state.out, self.info(), self.network)
        return metrics

    def save(self, schedule: Schedule) -> None:
        """Write the resume state."""
        if self.processes.is_first:
            checkpoint.save_resume(self.state.out, self.info(), self.state.resume_state(schedule.elapsed_s))
