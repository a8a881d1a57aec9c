"""Training of the generator: first the motion network, then the warp network; one checkpoint holds both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..avatar.dataset import TrainingData, load_training_data
from ..avatar.folder import Avatar
from ..errors import OptionError
from ..face.crop import in_crop, mask
from ..face.detector import FaceMesh
from ..face.mouth import mouth_opening
from ..face.topology import MOUTH_EXTENT
from ..inference.driving import mouth_shapes
from ..inference.sync_scorer import SyncScorer
from ..intervals import describe_ranges, runs
from ..media.audio import load_waveform
from ..models import checkpoint
from ..models.checkpoint import Checkpoint, save_generator
from ..models.generator import Generator, GeneratorConfig, with_neighbours
from ..models.lpips import Lpips
from ..models.motion import MotionConfig
from ..models.tensors import to_input, to_uint8, training_dtype
from ..models.warping import WarpConfig
from ..prefetch import prefetch
from . import augmented_features, run_log
from .calibration import calibrate_amplitude, calibrate_sharpness, rest_shape
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
from .losses import weighted_l1
from .motion import train_motion
from .references import choose_references
from .run_log import Start
from .sampling import sample, sample_runs

_log = logging.getLogger(__name__)

CALIBRATED_BY = 80  # frames
POSE_FRAMES = 1500  # of those learnt, to learn by how the pose is seen
PATIENCE = 0.25  # of the run without a better score on the held-out part: nothing more is to be learnt
SYNC_FROM = 0.6  # of the run: the sync loss waits until reconstruction has settled
Size = Literal["small", "standard"]
WIDTHS: dict[Size, tuple[int, ...]] = {"small": (32, 48, 64, 96), "standard": WarpConfig.widths}


@dataclass(frozen=True)
class GeneratorOptions:
    """What a user may choose for a training run."""

    steps: int = 6000
    minutes: float | None = None  # a time box instead of steps; the schedule fits itself to it
    size: Size = "standard"  # of the warp network; small is for slow machines
    batch: int = 16
    rate: float = 1e-3
    seed: int = 0
    held_out: float = 0.1
    motion_steps: int = 600  # per member
    motion_share: float = 0.2  # of the minutes
    mouth_weight: float = 3.0
    lpips_weight: float = 0.2
    sync_weight: float = 0.03
    shape_noise: float = 0.1
    check_every: int = 250
    save_every: int = 250

    def __post_init__(self) -> None:
        if min(self.steps, self.motion_steps, self.batch) < 1 or not (self.minutes is None or self.minutes > 0):
            raise OptionError("training needs at least 1 step, 1 motion step and a batch of 1, and more than 0 minutes")
        if self.seed < 0:
            raise OptionError(f"seed = {self.seed}: choose 0 or more")
        if self.size not in WIDTHS:
            raise OptionError(f"size = {self.size}: choose {', '.join(WIDTHS)}")
        if not 0.02 <= self.held_out <= 0.5:
            raise OptionError(f"held_out = {self.held_out}: keep between 0.02 and 0.5 of the clip for judging")


def train_generator(
    avatar: Avatar,
    out: Path,
    options: GeneratorOptions = GeneratorOptions(),
    *,
    encoder: str = "whisper-tiny",
    syncnet: SyncScorer | None = None,
    start: Start = "new",
    models: Path | None = None,
    device: str = "cpu",
) -> Reports:
    """Learn a generator from an avatar; `out` gets the weights that did best on the held-out part.

    Closing the iterator (Cancel) saves the resume state; `start` says what becomes of that of an earlier run, see
    `run_log`. Raises NoFaceError, MismatchError, FormatError, FileError when `out` is there already and `start` does
    not say what becomes of it, or DivergedError.
    """
    out = Path(out)
    run_log.check_start(out, start)
    data = load_training_data(avatar, encoder, options.held_out, models=models)
    run = GeneratorRun(data, out, options, encoder, syncnet, models, torch.device(device))
    goes_on = run_log.begin(out, start, run.info(0, {}), run.restore)
    log = run_log.open_log(out, run.step) if goes_on else run_log.RunLog(out)
    yield from log.follow(_learn(run))


def _learn(run: GeneratorRun) -> Reports:
    if not run.motion_done:
        yield from run.learn_motion()
    yield from run.train_warp()


class GeneratorRun:
    """State of one training run: networks, averages, optimiser, what was best so far.

    Experiments override how the networks are built, how batches are drawn and what is minimised.
    """

    def __init__(
        self,
        data: TrainingData,
        out: Path,
        options: GeneratorOptions,
        encoder: str,
        syncnet: SyncScorer | None,
        models: Path | None,
        device: torch.device,
    ) -> None:
        self.data, self.out, self.options, self.encoder = data, out, options, encoder
        self.syncnet, self.device = syncnet, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.generator = self._build()
        self.data = data = self._without_broken()
        warp_config = self.generator.config.warp
        chosen = choose_references(data, warp_config.references, options.seed)
        self.generator.warp.references.copy_(torch.from_numpy(data.crops[chosen]).permute(0, 3, 1, 2))
        some = data.train_frames[:: max(1, len(data.train_frames) // POSE_FRAMES)]
        parts = (to_input(data.crops[some[k : k + 32]]) for k in range(0, len(some), 32))
        self.generator.warp.fit_pose_inputs(parts, data.pose[some])
        self.shapes = self.generator.encode_shapes(data.points)
        self.generator.rest_pose.copy_(rest_shape(data, self.shapes))
        self.steered = with_neighbours(self.shapes, warp_config.frames, data.shots)
        self.lpips, self.mesh = Lpips(models).to(device), FaceMesh(models)
        self.models, self.dtype = models, training_dtype(device)
        warp = self.generator.warp.to(device)
        warp.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = Averaged(self.generator.warp)
        self.optimiser = torch.optim.AdamW(self.generator.warp.parameters(), lr=options.rate, weight_decay=0.01)
        mouth = torch.from_numpy(mask(data.avatar.crop).copy())[None, None].to(device)
        self.rows, self.columns = self.generator.warp.box
        self.weight = (1 + (options.mouth_weight - 1) * self._mouth_bump(mouth)) * (mouth > 0)
        self.weight = self.weight[:, :, self.rows, self.columns]
        self.weights = {"l1": 1.0, "lpips": options.lpips_weight, "sync": options.sync_weight}
        self.members: set[int] = set()  # of the motion network, that are trained
        self.motion_done, self.step = False, 0
        self.best, self.best_at = float("inf"), 0.0  # on the held-out part, and how far the run was then
        self.metrics: dict[str, float] = {}
        self.spent_s = 0.0

    def _build(self) -> Generator:
        """Both networks, untrained."""
        data, spec = self.data, self.data.avatar.crop
        warp = WarpConfig(spec.size, widths=WIDTHS[self.options.size])
        return Generator(GeneratorConfig(MotionConfig(data.features.shape[1]), warp, data.points.shape[1]), spec)

    def _without_broken(self) -> TrainingData:
        """Learn the space of mouth shapes; what it leaves out is not learnt from, and the user is told."""
        data, info = self.data, self.data.avatar.info
        within = self.generator.fit_shape_space(data.points[data.train_frames]).numpy()
        if not within.all():
            broken = np.zeros(info.frame_count, bool)
            broken[data.train_frames[~within]] = True
            words = describe_ranges(runs(broken), float(info.fps))
            _log.warning(
                "%s: %d frames are left out, their faces look broken: %s", data.avatar.root.name, broken.sum(), words
            )
        return replace(data, train_frames=data.train_frames[within])

    def _mouth_bump(self, mouth: Tensor) -> Tensor:
        """1 where this person's lips are in the learnt frames, falling off around: (1, 1, S, S)."""
        spec = self.data.avatar.crop
        track = self.data.avatar.track()
        frames = self.data.train_frames[:: max(1, len(self.data.train_frames) // 200)]
        places = in_crop(track.landmarks[frames][:, MOUTH_EXTENT], track.transforms[frames])
        low, high = np.percentile(places.reshape(-1, 2), (2, 98), axis=0)
        axis = torch.arange(spec.size, device=mouth.device) + 0.5
        centre, radius = (low + high) / 2, (high - low) / 2 * 1.3
        u = ((axis[None, :] - float(centre[0])) / float(radius[0])) ** 2
        v = ((axis[:, None] - float(centre[1])) / float(radius[1])) ** 2
        return (2 - u - v).clamp(0, 1)[None, None].float()

    def info(self, step: int, metrics: dict[str, float]) -> Checkpoint:
        config = {"model": self.generator.config.to_dict(), "options": asdict(self.options)}
        avatar = self.data.avatar
        return Checkpoint("generator", config, step, self.encoder, avatar.crop, avatar.identity, metrics)

    # The motion network

    def learn_motion(self) -> Iterator[StepReport]:
        options = self.options
        minutes = options.minutes * options.motion_share if options.minutes is not None else None
        schedule = Schedule(options.motion_steps, min(minutes, 2.5) if minutes is not None else None, self.spent_s)
        avatar, made_by = self.data.avatar, {"models": self.models, "device": str(self.device)}
        with saving_at_the_end(lambda: self._save_resume(schedule)):
            for done in augmented_features.extract_augmented(avatar, self.encoder, **made_by):
                yield StepReport("speech", 0, done, {})
            for _ in augmented_features.extract_silences(avatar, self.encoder, **made_by):
                yield StepReport("speech", 0, 1.0, {})
            sounds = {
                "others": augmented_features.augmented_features(avatar, self.encoder),
                "silences": augmented_features.silence_features(avatar, self.encoder),
            }
            common = {"seed": options.seed, "trained": self.members, "models": self.models, **sounds}
            yield from train_motion(self.generator, self.data, self.shapes, schedule, **common)
            self.motion_done = True
        self.spent_s = schedule.elapsed_s

    # The warp network

    def train_warp(self) -> Iterator[StepReport]:
        schedule = Schedule(self.options.steps, self.options.minutes, self.spent_s)
        batches = prefetch(self._batch(step, schedule) for step in count(self.step))
        begun, first = time.monotonic(), self.step
        with closing(batches), saving_at_the_end(lambda: self._save_resume(schedule)):
            while schedule.done(self.step) < 1:
                frames, targets = next(batches)
                losses = self._train_step(frames, targets, schedule)
                self.step += 1
                done = schedule.done(self.step)
                finished, metrics, preview = done >= 1, {}, None
                if finished or self.step % self.options.check_every == 0:
                    metrics, preview = self._check(done)
                    finished = finished or done - self.best_at > PATIENCE
                if finished or self.step % self.options.save_every == 0:
                    self._save_resume(schedule)
                rate = (self.step - first) * self.options.batch / max(time.monotonic() - begun, 1e-6)
                done = 1.0 if finished else done
                yield StepReport("warp", self.step, done, losses, rate, metrics, preview)
                if finished:
                    break
            if not self.out.is_file():  # nothing left to learn, but the file was taken away
                metrics, preview = self._check(1.0)
                yield StepReport("warp", self.step, 1.0, {}, 0.0, metrics, preview)

    def _syncing(self, done: float) -> bool:
        return self.syncnet is not None and done >= SYNC_FROM and self.options.sync_weight > 0

    def _batch(self, step: int, schedule: Schedule) -> tuple[np.ndarray, Tensor]:
        """Frame numbers (batch,) and their crops; (runs, length) of consecutive frames once the SyncNet listens."""
        options = self.options
        if self.syncnet is not None and self._syncing(schedule.done(step)):
            length = self.syncnet.frames
            shots, runs = self.data.shots.numpy(), max(1, round(options.batch / length))
            frames = sample_runs(self.data.train_frames, shots, length, runs, options.seed, step)
        else:
            frames = sample(self.data.train_frames, options.batch, options.seed, step)
        return frames, to_input(self.data.crops[frames.reshape(-1)])

    def _train_step(self, frames: np.ndarray, targets: Tensor, schedule: Schedule) -> dict[str, float]:
        options, warp = self.options, self.generator.warp
        targets = targets.to(self.device, memory_format=torch.channels_last)
        noise = torch.Generator().manual_seed(options.seed * 1_000_003 + self.step)
        shapes = self.steered[frames.reshape(-1)]
        shapes = (shapes + options.shape_noise * torch.randn(shapes.shape, generator=noise)).to(self.device)
        set_learning_rate(self.optimiser, schedule.rate(self.step, options.rate))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            drawn = warp.draw(targets, shapes, self.enlarged)
            losses = self._losses(*(x[:, :, self.rows, self.columns] for x in (drawn, targets)))
        if self.syncnet is not None and frames.ndim == 2:
            losses["sync"] = self.syncnet.loss(drawn.float(), self.data, frames)
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        check_finite(loss, "warp", self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(warp, "warp", self.step, 1.0)
        self.optimiser.step()
        self.average.update(warp)
        return {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in losses.items()}}

    def _losses(self, inside: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Of what was drawn, each to be weighed by `weights`; both (B, 3, h, w), the mask's box."""
        l1 = weighted_l1(inside.float(), wanted, self.weight)
        return {"l1": l1, "lpips": self.lpips(inside, wanted).mean()}

    def _check(self, done: float) -> tuple[dict[str, float], np.ndarray]:
        """Judge the averaged weights on up to 48 held-out frames, keep them when they are the best so far.

        done: how far the run is, 0..1.
        """
        warp, data = self.generator.warp, self.data
        frames = data.held_out[np.linspace(0, len(data.held_out) - 1, min(48, len(data.held_out))).astype(int)]
        targets = to_input(data.crops[frames]).to(self.device)
        self.average.swap(warp)
        warp.eval()
        try:
            self._calibrate()
            drawn, l1, lpips = self._redraw_held_out(frames, targets)
            metrics = {"held_out_l1": l1, "held_out_lpips": lpips}
            if l1 + self.options.lpips_weight * lpips < self.best:
                self.best, self.best_at, self.metrics = l1 + self.options.lpips_weight * lpips, done, metrics
                save_generator(self.out, self.info(self.step, metrics), self.generator)
        finally:
            warp.train()
            self.average.swap(warp)
        widest = int(mouth_opening(data.landmarks[frames]).argmax())
        row = slice(widest, widest + 1)
        preview = np.concatenate(
            [to_uint8(x[row])[0] for x in (warp.mask_input(targets)[:, :3], drawn, targets)], axis=1
        )
        return metrics, preview

    @cached_property
    def enlarged(self) -> Tensor:
        """The references as they are sampled; they are fixed once the run begins."""
        return self.generator.warp.enlarge(self.generator.warp.references)

    @cached_property
    def heard(self) -> Tensor:
        """(N, frames, D) what steers the warp network where the clip's sound drives it; once motion is learnt."""
        data, generator = self.data, self.generator
        generator.motion.eval()
        times_s = data.audio_times_s(np.arange(len(data.crops)))
        heard, waveform = data.avatar.features(self.encoder), load_waveform(data.avatar.audio)
        shapes = mouth_shapes(generator, heard, times_s, waveform, models=self.models)
        return with_neighbours(shapes, generator.config.warp.frames, data.shots)

    def _calibrate(self) -> None:
        """By frames learnt: how far the mouth moves, then, driven by their sound, how fine its detail is."""
        data, warp = self.data, self.generator.warp
        some = data.train_frames[np.linspace(0, len(data.train_frames) - 1, CALIBRATED_BY).astype(int)]
        places, heard = in_crop(data.landmarks[some], data.avatar.track().transforms[some]), self.heard
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            calibrate_amplitude(warp, self.mesh, data.crops[some], self.steered[some], places)
            calibrate_sharpness(warp, data.crops[some[::4]], heard[some[::4]])

    @torch.no_grad()
    def _redraw_held_out(self, frames: np.ndarray, targets: Tensor) -> tuple[Tensor, float, float]:
        shapes, parts = self.steered[frames].to(self.device), []
        for part, steer in zip(targets.split(16), shapes.split(16), strict=True):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                parts.append(self.generator.warp(part, steer).float())
        drawn = torch.cat(parts)
        inside, wanted = (x[:, :, self.rows, self.columns] for x in (drawn, targets))
        return drawn, float(weighted_l1(inside, wanted, self.weight)), float(self.lpips(inside, wanted).mean())

    # The resume state

    def _save_resume(self, schedule: Schedule) -> None:
        state = {
            "networks": self.generator.state_dict(),
            "average": self.average.state(),
            "optimiser": optimiser_state(self.optimiser),
            "best": self.best,
            "best_at": self.best_at,
            "spent_s": schedule.elapsed_s,
            "motion": {"done": self.motion_done, "members": sorted(self.members)},
        }
        checkpoint.save_resume(self.out, self.info(self.step, self.metrics), state)

    def restore(self, info: Checkpoint, state: dict[str, Any]) -> None:
        """Go on from this resume state; MismatchError, and nothing changed, when another version wrote it."""
        checkpoint.check_tensors(self.out, self.generator.state_dict(), state.get("networks", {}))
        checkpoint.check_tensors(self.out, self.average.weights, state.get("average", {}).get("weights", {}))
        self.generator.load_state_dict(state["networks"])
        self.shapes = self.generator.encode_shapes(self.data.points)
        self.average.restore(state["average"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.step, self.spent_s = info.step, state["spent_s"]
        self.motion_done, self.members = state["motion"]["done"], set(state["motion"]["members"])
        if self.out.is_file():
            self.best, self.best_at, self.metrics = state["best"], state.get("best_at", 1.0), info.metrics
