"""Training of the SyncNet: mouths and their own sound close together, other times of the same clip far apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import checkpoint
from .avatar import Avatar
from .batches import TrainingData, autocast_dtype, load_training_data, run_starts
from .checkpoint import Checkpoint
from .errors import FormatError
from .judge import OFFSETS, judge, load_mouths, save_syncnet, sound_windows, window_rows
from .losses import contrastive
from .models.syncnet import SyncNet, SyncNetConfig
from .training import Averaged, Schedule, StepReport, check_finite, optimiser_state, restore_optimiser, set_rate

NEIGHBOURS = 16  # windows of one neighbourhood in a batch: the hard negatives
REACH = 24  # frames around its middle that a neighbourhood spans


@dataclass(frozen=True)
class SyncNetOptions:
    """What a user may choose for a training run."""

    steps: int = 1500
    minutes: float | None = None
    neighbourhoods: int = 6
    rate: float = 1e-3
    seed: int = 0
    held_out: float = 0.1
    check_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.minutes is None or self.minutes > 0) or self.neighbourhoods < 2:
            raise FormatError("training needs at least 1 step, more than 0 minutes, and 2 neighbourhoods")
        if self.seed < 0:
            raise FormatError(f"seed = {self.seed}: choose 0 or more")


def train_syncnet(
    avatar: Avatar,
    out: Path,
    options: SyncNetOptions = SyncNetOptions(),
    *,
    encoder: str = "whisper-tiny",
    resume: bool = False,
    device: str = "cpu",
) -> Iterator[StepReport]:
    """Learn a SyncNet from an avatar; `out` gets the weights that judged the held-out part best.

    Errors and Cancel as in `train_generator`.
    """
    run = _Run(load_training_data(avatar, encoder, options.held_out), Path(out), options, encoder, torch.device(device))
    if resume:
        run.restore()
    yield from run.learn()


def augment_mouths(mouths: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, frames, h, w) 0..1 → the same, each stack changed as a whole: mirror, gain, gamma, small shift, noise."""
    batch, frames, height, width = mouths.shape
    if rng.random() < 0.5:
        mouths = mouths.flip(-1)
    angle = torch.from_numpy(rng.normal(0, 0.06, batch)).float()
    scale = torch.from_numpy(np.exp(rng.normal(0, 0.06, batch))).float()
    shift = torch.from_numpy(rng.normal(0, 0.06, (batch, 2))).float()
    ratio = height / width
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([c, -s * ratio, shift[:, 0]], 1), torch.stack([s / ratio, c, shift[:, 1]], 1)], 1)
    grid = torch.nn.functional.affine_grid(theta, [batch, frames, height, width], align_corners=False)
    mouths = torch.nn.functional.grid_sample(mouths, grid, padding_mode="border", align_corners=False)
    gamma = torch.from_numpy(np.exp(rng.normal(0, 0.15, (batch, 1, 1, 1)))).float()
    noise = torch.from_numpy(rng.normal(0, 0.01, mouths.shape).astype(np.float32))
    return mouths.clamp(1e-3, 1) ** gamma + noise


class _Run:
    """State of one training run."""

    def __init__(
        self, data: TrainingData, out: Path, options: SyncNetOptions, encoder: str, device: torch.device
    ) -> None:
        self.data, self.out, self.options, self.encoder, self.device = data, out, options, encoder, device
        config = SyncNetConfig(data.features.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.network = SyncNet(config)
        self.features = torch.from_numpy(np.array(data.features, np.float32))
        heard = self.features[: int(data.rows_at(data.learnt[-1:])[0]) + 1]
        self.network.feature_mean.copy_(heard.mean(0))
        self.network.feature_std.copy_(heard.std(0).clamp_min(1e-3))
        self.network.to(device)
        self.mouths = load_mouths(data.crops, data.avatar.crop, config)
        self.starts = run_starts(data.learnt, data.shots.numpy(), config.frames)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=options.rate, weight_decay=0.05)
        self.average = Averaged(self.network, 0.995)
        self.dtype = autocast_dtype(device)
        self.step, self.best, self.spent_s = 0, -1.0, 0.0
        self.metrics: dict[str, float] = {}

    def info(self) -> Checkpoint:
        config = {"model": self.network.config.to_dict(), "options": asdict(self.options)}
        avatar = self.data.avatar
        return Checkpoint("syncnet", config, self.step, self.encoder, avatar.crop, avatar.identity, self.metrics)

    def learn(self) -> Iterator[StepReport]:
        options = self.options
        schedule = Schedule(options.steps, options.minutes, self.spent_s)
        first, batch = self.step, options.neighbourhoods * NEIGHBOURS
        try:
            while schedule.done(self.step) < 1:
                loss = self._train_step(schedule)
                self.step += 1
                found = {}
                if schedule.done(self.step) >= 1 or self.step % options.check_every == 0:
                    found = self._check()
                    self._save_resume(schedule)
                spent = schedule.elapsed_s - self.spent_s
                rate = (self.step - first) * batch / max(spent, 1e-6)
                yield StepReport("syncnet", self.step, schedule.done(self.step), {"loss": loss}, rate, found)
            if not self.out.is_file():  # nothing left to learn, but the file was taken away
                yield StepReport("syncnet", self.step, 1.0, {}, 0.0, self._check())
        finally:
            self._save_resume(schedule)

    def _windows(self, rng: np.random.Generator) -> np.ndarray:
        """First frames of a batch of windows, in neighbourhoods: distinct times of one stretch, two frames apart."""
        chosen = []
        for middle in rng.choice(len(self.starts), self.options.neighbourhoods):
            offset = np.abs(self.starts - self.starts[middle])
            near = self.starts[(offset <= REACH) & ((self.starts - self.starts[middle]) % 2 == 0)]
            chosen.append(
                rng.choice(near, NEIGHBOURS, replace=False)
                if len(near) >= NEIGHBOURS
                else rng.choice(self.starts, NEIGHBOURS)
            )
        return np.concatenate(chosen)

    def _train_step(self, schedule: Schedule) -> float:
        rng = np.random.default_rng((self.options.seed, self.step))
        network, config = self.network, self.network.config
        starts = self._windows(rng)
        stacks = torch.from_numpy(self.mouths[starts[:, None] + np.arange(config.frames)]).float() / 255
        rows = window_rows(starts, float(self.data.avatar.info.fps), self.data.rate_hz, config)
        sound = sound_windows(self.features, rows)
        sound = sound + 0.1 * network.feature_std.cpu() * torch.from_numpy(
            rng.normal(size=sound.shape).astype(np.float32)
        )
        network.train()
        set_rate(self.optimiser, schedule.rate(self.step, self.options.rate))
        with (
            torch.random.fork_rng(devices=[]),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            torch.manual_seed(int(rng.integers(2**31)))
            seen = network.embed_mouths(augment_mouths(stacks, rng).to(self.device))
            heard = network.embed_audio(sound.to(self.device))
        loss = contrastive(seen, heard, network.log_temperature)
        check_finite(loss, "SyncNet", self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(network)
        return float(loss.detach())

    def _check(self) -> dict[str, float]:
        self.average.swap(self.network)
        try:
            report = judge(self.network, self.data, self.mouths[self.data.held_out], self.data.held_out)
            found = report.to_dict()
            if report.auc > self.best:
                self.best = report.auc
                self.metrics = {
                    **found,
                    **{f"distance_{o}": float(d) for o, d in zip(OFFSETS, report.curve, strict=True)},
                }
                save_syncnet(self.out, self.info(), self.network)
        finally:
            self.average.swap(self.network)
        return found

    def _save_resume(self, schedule: Schedule) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimiser": optimiser_state(self.optimiser),
            "best": self.best,
            "spent_s": schedule.elapsed_s,
        }
        checkpoint.save_resume(self.out, self.info(), state)

    def restore(self) -> None:
        """Go on where the run that wrote this checkpoint stopped; a missing resume state starts anew."""
        if not checkpoint.resume_path(self.out).is_file():
            return
        info, state = checkpoint.load_resume(self.out)
        avatar = self.data.avatar
        checkpoint.check_match(info, avatar=avatar.identity, crop=avatar.crop, encoder=self.encoder)
        self.network.load_state_dict(state["network"])
        self.average.restore(state["average"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.step, self.spent_s = info.step, state["spent_s"]
        if self.out.is_file():
            self.best, self.metrics = state["best"], info.metrics
