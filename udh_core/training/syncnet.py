"""Training of the SyncNet: mouths and their own sound close together, other times of the same clip far apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..avatar.dataset import TrainingData, load_training_data
from ..avatar.folder import Avatar
from ..errors import MediaError, MismatchError, OptionError
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
from ..models.syncnet import SyncNet, SyncNetConfig
from ..models.tensors import training_dtype
from . import run_log
from .loop import (
    Averaged,
    Reports,
    Schedule,
    StepReport,
    check_finite,
    clip_gradients,
    optimiser_state,
    restore_optimiser,
    saving_at_the_end,
    set_learning_rate,
)
from .losses import contrastive
from .run_log import Start

NEIGHBOURS = 16  # windows of one neighbourhood in a batch: the hard negatives
REACH = 24  # frames around its middle that a neighbourhood spans
SAME = 1  # frames: windows this close to each other are no negatives
NEAR = 15  # frames: those up to here are near misses
NEAR_WEIGHT = 3.0  # how much a near miss counts at the end of the run; at its start 1, like any other negative


@dataclass(frozen=True)
class SyncNetOptions:
    """What a user may choose for a training run."""

    steps: int = 1000
    minutes: float | None = None
    neighbourhoods: int = 6
    rate: float = 1e-3
    seed: int = 0
    held_out: float = 0.1
    check_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.minutes is None or self.minutes > 0) or self.neighbourhoods < 2:
            raise OptionError("training needs at least 1 step, more than 0 minutes, and 2 neighbourhoods")
        if self.seed < 0:
            raise OptionError(f"seed = {self.seed}: choose 0 or more")


def train_syncnet(
    avatars: Avatar | Sequence[Avatar],
    out: Path,
    options: SyncNetOptions = SyncNetOptions(),
    *,
    encoder: str = "whisper-tiny",
    init: Path | None = None,
    start: Start = "new",
    models: Path | None = None,
    device: str = "cpu",
) -> Reports:
    """Learn a SyncNet from one avatar, or a universal one from several; `out` gets what judged the held-out parts best.

    `init` is a SyncNet of the same encoder to take the first weights from; a run that goes on must have begun with the
    same one; `models` is the folder of the weight files. `start`, errors and Cancel as in `train_generator`.
    """
    out = Path(out)
    run_log.check_start(out, start)
    persons = [avatars] if isinstance(avatars, Avatar) else list(avatars)
    data = [load_training_data(avatar, encoder, options.held_out, models=models) for avatar in persons]
    run = SyncNetRun(data, out, options, encoder, torch.device(device))
    if init is not None:
        run.begin_from(init)
    goes_on = run_log.begin(out, start, run.info(), run.restore)
    log = run_log.open_log(out, run.step) if goes_on else run_log.RunLog(out)
    yield from log.follow(run.learn())


def augment_mouths(mouths: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, frames, h, w) 0..1 → the same, each stack changed as a whole: what must not tell in-sync from off-sync.

    Mirror, small affine, gamma, blur, a patch left out, noise.
    """
    batch, frames, height, width = mouths.shape
    if rng.random() < 0.5:
        mouths = mouths.flip(-1)
    angle = torch.from_numpy(rng.normal(0, 0.06, batch)).float()
    scale = torch.from_numpy(np.exp(rng.normal(0, 0.06, batch))).float()
    shift = torch.from_numpy(rng.normal(0, 0.06, (batch, 2))).float()
    ratio = height / width
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([c, -s * ratio, shift[:, 0]], 1), torch.stack([s / ratio, c, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, [batch, frames, height, width], align_corners=False)
    mouths = F.grid_sample(mouths, grid, padding_mode="border", align_corners=False)
    gamma = torch.from_numpy(np.exp(rng.normal(0, 0.15, (batch, 1, 1, 1)))).float()
    mouths = mouths.clamp(1e-3, 1) ** gamma
    soft = torch.from_numpy(rng.random(batch) < 0.3)
    mouths[soft] = F.avg_pool2d(mouths[soft], 3, stride=1, padding=1, count_include_pad=False)
    for k in np.flatnonzero(rng.random(batch) < 0.2):
        top, left = rng.integers(0, height - height // 4), rng.integers(0, width - width // 4)
        mouths[k, :, top : top + height // 4, left : left + width // 4] = 0.5
    return mouths + torch.from_numpy(rng.normal(0, 0.01, mouths.shape).astype(np.float32))


def augment_sound(sound: Tensor, std: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, rows, D) → the same with a gain per window and noise, in units of the features' own spread `std` (D,)."""
    gain = torch.from_numpy(rng.normal(1, 0.1, (len(sound), 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.1, sound.shape).astype(np.float32))
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
        self.heard = self.features[: int(data.rows_at(data.train_frames[-1:])[0]) + 1]
        self.mouths = load_mouths(data.crops, data.avatar.crop, config)
        self.shots = data.shots.numpy()
        self.starts = run_starts(data.train_frames, self.shots, config.frames)
        if len(self.starts) < NEIGHBOURS:
            raise MediaError(f"{data.avatar.root}: too few frames in a row to learn from; use a longer clip")
        spoken = data.spoken[self.starts[:, None] + np.arange(config.frames)].mean(1) >= MIN_SPOKEN
        self.middles = self.starts[spoken] if spoken.any() else self.starts

    def neighbourhood(self, rng: np.random.Generator) -> np.ndarray:
        """(NEIGHBOURS,) first frames of windows around a moment of speech, those of the same shot first."""
        middle = rng.choice(self.middles)
        near = self.starts[np.abs(self.starts - middle) <= REACH]
        near = near[self.shots[near] == self.shots[middle]]
        chosen = rng.permutation(near)[:NEIGHBOURS]
        return np.concatenate([chosen, rng.choice(self.starts, NEIGHBOURS - len(chosen))])

    def stacks(self, starts: np.ndarray) -> Tensor:
        """(n, frames, height, width) float32 0..1."""
        return torch.from_numpy(self.mouths[starts[:, None] + np.arange(self.config.frames)]).float() / 255

    def sound(self, starts: np.ndarray) -> Tensor:
        """(n, rows, D): what is heard with them."""
        middles_s = self.data.audio_times_s(starts + (self.config.frames - 1) / 2)
        return sound_windows(self.features, window_rows(middles_s, self.data.rate_hz, self.config))

    def distances(self, network: SyncNet) -> np.ndarray:
        held_out = self.data.held_out
        return sync_distances(
            network, self.data, self.mouths[held_out], held_out, AudioSegment.own(self.data, held_out)
        )


class SyncNetRun:
    """State of one training run."""

    def __init__(
        self, data: list[TrainingData], out: Path, options: SyncNetOptions, encoder: str, device: torch.device
    ) -> None:
        self.out, self.options, self.encoder, self.device = out, options, encoder, device
        config = SyncNetConfig(data[0].features.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.network = SyncNet(config)
        self.persons = [_Person(one, config) for one in data]
        heard = torch.cat([person.heard for person in self.persons])
        self.network.feature_mean.copy_(heard.mean(0))
        self.network.feature_std.copy_(heard.std(0).clamp_min(1e-3))
        self.network.to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=options.rate, weight_decay=0.05)
        self.average = Averaged(self.network, 0.995)
        self.dtype = training_dtype(device)
        self.begun_from = ""  # fingerprint of the SyncNet its first weights are of
        self.step, self.best, self.spent_s = 0, -1.0, 0.0
        self.metrics: dict[str, float] = {}

    @property
    def identity(self) -> str:
        """Of the avatar, or of all of them together."""
        names = sorted(person.data.avatar.identity for person in self.persons)
        return names[0] if len(names) == 1 else hashlib.sha256("".join(names).encode()).hexdigest()[:16]

    def info(self) -> Checkpoint:
        options = {**asdict(self.options), checkpoint.BEGUN_FROM: self.begun_from}
        config = {"model": self.network.config.to_dict(), "options": options}
        crop = self.persons[0].data.avatar.crop
        return Checkpoint("syncnet", config, self.step, self.encoder, crop, self.identity, self.metrics)

    def begin_from(self, path: Path) -> None:
        """Take the weights of another SyncNet; how loud and how varied the features are stays this avatar's own."""
        start = open_syncnet(path)
        if (start.info.encoder, start.network.config) != (self.encoder, self.network.config):
            raise MismatchError(
                f"{path} hears {start.info.encoder} features, this avatar's are {self.encoder}; prepare the avatar "
                "with that encoder, or start from another SyncNet"
            )
        own = {name: tensor.clone() for name, tensor in self.network.named_buffers()}
        self.network.load_state_dict({**start.network.state_dict(), **own})
        self.average = Averaged(self.network, 0.995)
        self.begun_from = checkpoint.fingerprint(path)

    def learn(self) -> Reports:
        options = self.options
        schedule = Schedule(options.steps, options.minutes, self.spent_s)
        first, batch = self.step, options.neighbourhoods * NEIGHBOURS
        with saving_at_the_end(lambda: self._save_resume(schedule)):
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

    def _train_step(self, schedule: Schedule) -> float:
        rng = np.random.default_rng((self.options.seed, self.step))
        network = self.network
        share = np.array([len(person.middles) for person in self.persons], float)
        chosen = np.sort(rng.choice(len(self.persons), self.options.neighbourhoods, p=share / share.sum()))
        starts = [self.persons[k].neighbourhood(rng) for k in chosen]
        pairs = [(self.persons[k], part) for k, part in zip(chosen, starts, strict=True)]
        stacks = torch.cat([person.stacks(part) for person, part in pairs])
        sound = torch.cat([person.sound(part) for person, part in pairs])
        shots = np.concatenate([person.shots[part] for person, part in pairs])
        weights = negative_weights(
            np.repeat(chosen, NEIGHBOURS), shots, np.concatenate(starts), schedule.done(self.step)
        )
        sound = augment_sound(sound, network.feature_std.cpu(), rng)
        network.train()
        set_learning_rate(self.optimiser, schedule.rate(self.step, self.options.rate))
        with (
            torch.random.fork_rng(devices=[]),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            torch.manual_seed(int(rng.integers(2**31)))
            seen = network.embed_mouths(augment_mouths(stacks, rng).to(self.device))
            heard = network.embed_audio(sound.to(self.device))
        loss = contrastive(seen, heard, network.log_temperature, weights.to(self.device))
        check_finite(loss, "SyncNet", self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(network, "SyncNet", self.step, 1.0)
        self.optimiser.step()
        self.average.update(network)
        return float(loss.detach())

    def _check(self) -> dict[str, float]:
        self.average.swap(self.network)
        try:
            report = SyncReport.of(np.concatenate([person.distances(self.network) for person in self.persons]))
            found = report.to_dict()
            if report.auc > self.best:
                self.best = report.auc
                self.metrics = found
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

    def restore(self, info: Checkpoint, state: dict[str, Any]) -> None:
        """Go on from this resume state; MismatchError, and nothing changed, when another version wrote it."""
        checkpoint.check_tensors(self.out, self.network.state_dict(), state.get("network", {}))
        checkpoint.check_tensors(self.out, self.average.weights, state.get("average", {}).get("weights", {}))
        self.network.load_state_dict(state["network"])
        self.average.restore(state["average"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.step, self.spent_s = info.step, state["spent_s"]
        if self.out.is_file():
            self.best, self.metrics = state["best"], info.metrics
