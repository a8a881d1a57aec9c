"""Training of the warp network: batches, losses and one step; `warp_validation` looks at the held-out part."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..face.crop import in_crop, mask
from ..face.topology import MOUTH_EXTENT
from ..inference.sync_scorer import SyncScorer
from ..models.generator import Generator, with_neighbours
from ..models.lpips import Lpips
from ..models.memory import BatchLimit, is_out_of_memory
from ..models.retrieval_warp import RetrievalWarpNet
from ..models.tensors import to_input, training_dtype
from .loop import Averaged, RunState, Schedule, apply_gradient, set_learning_rate
from .losses import weighted_l1
from .options import GeneratorOptions
from .processes import ALONE, Processes
from .sampling import sample, sample_runs

SYNC_FROM = 0.6  # of the run: the sync loss waits until reconstruction has settled; chosen
WEIGHT_DECAY = 0.01  # of AdamW; its default
LONGEST_GRADIENT = 1.0  # chosen
_BUMP_FRAMES = 200  # at most, to find the lips in; chosen
_BUMP_RADIUS = 1.3  # times the box of the lips; chosen
_BUMP_PERCENTILES = (2, 98)  # of where the lips are: a single wide frame does not count; chosen


def warp_state(out: Path, generator: Generator, learning_rate: float, decay: float = Averaged.DECAY) -> RunState:
    """An optimiser and averaged weights for the generator's warp network, before the first step."""
    warp = generator.warp
    optimiser = torch.optim.AdamW(warp.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    return RunState(out, generator, warp, optimiser, Averaged(warp, decay))


class MouthRegion:
    """Where an error counts, and how much: the box of the crop's mask, with more weight on the lips of this person."""

    def __init__(self, data: TrainingData, box: tuple[slice, slice], mouth_weight: float, device: torch.device) -> None:
        self.rows, self.columns = box
        inside = torch.from_numpy(mask(data.avatar.crop).copy())[None, None] > 0
        weight = (1 + (mouth_weight - 1) * _mouth_bump(data)) * inside
        self.weight = self.cut(weight).to(device)  # (1, 1, h, w)

    def cut(self, images: Tensor) -> Tensor:
        """(B, C, S, S) → (B, C, h, w)."""
        return images[:, :, self.rows, self.columns]

    def l1(self, inside: Tensor, true: Tensor) -> Tensor:
        """Weighted mean absolute error of images (B, 3, h, w)."""
        return weighted_l1(inside.float(), true, self.weight)


def _mouth_bump(data: TrainingData) -> Tensor:
    """1 where this person's lips are in the frames to train on, falling off around: (1, 1, S, S)."""
    frames = data.train_frames[:: max(1, len(data.train_frames) // _BUMP_FRAMES)]
    places = in_crop(data.landmarks[frames][:, MOUTH_EXTENT], data.transforms[frames])
    low, high = np.percentile(places.reshape(-1, 2), _BUMP_PERCENTILES, axis=0)
    centre, radius = (low + high) / 2, (high - low) / 2 * _BUMP_RADIUS
    axis = torch.arange(data.avatar.crop.size) + 0.5
    across = ((axis[None, :] - float(centre[0])) / float(radius[0])) ** 2
    down = ((axis[:, None] - float(centre[1])) / float(radius[1])) ** 2
    return (2 - across - down).clamp(0, 1)[None, None].float()


class WarpTraining:
    """Updates of a generator's warp network, which is conditioned on the true mouth shapes.

    Where the device has no memory for a batch, its gradient is summed over smaller parts, at last on the CPU, and a
    warning says so; one of several processes fails. Experiments override `draw_batch` and `losses`, and change
    `loss_weights`.
    """

    def __init__(
        self,
        generator: Generator,
        data: TrainingData,
        options: GeneratorOptions,
        state: RunState,
        *,
        syncnet: SyncScorer | None = None,
        models: Path | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """The statistics of the generator have to be fitted, its warp network has to be on its device."""
        self.processes = processes
        self.generator, self.warp = generator, generator.warp
        self.data, self.options, self.state, self.syncnet = data, options, state, syncnet
        self.device = self.warp.mask.device
        self.limit = BatchLimit(self.device, "crops")
        self.dtype = training_dtype(self.device)
        self.region = MouthRegion(data, self.warp.box, options.mouth_weight, self.device)
        self.lpips = Lpips(models).to(self.device)
        self.loss_weights = {"l1": 1.0, "lpips": options.lpips_weight, "sync": options.sync_weight}
        shapes = generator.encode_shapes(data.points)
        self.conditions = with_neighbours(shapes, generator.config.warp.frames, data.shots)
        self._draw = processes.averaging(self.warp, self._drawn)

    @cached_property
    def references(self) -> Tensor:
        """The reference crops as they are sampled; they are fixed once a run begins."""
        return self.warp.enlarge(self.warp.references)

    def draw_batch(self, step: int, done: float) -> tuple[np.ndarray, Tensor]:
        """Frame numbers (batch,); runs of consecutive frames, (runs, length), once the SyncNet's loss counts. And the
        crops (n, 3, S, S) of those that are this process's share. `done`: 0..1 of the run."""
        options, data = self.options, self.data
        if self.syncnet is not None and options.sync_weight > 0 and done >= SYNC_FROM:
            length = self.syncnet.frames
            runs = max(1, round(options.batch / length))
            frames = sample_runs(data.train_frames, data.shots.numpy(), length, runs, options.seed, step)
        else:
            frames = sample(data.train_frames, options.batch, options.seed, step)
        own = frames[self.processes.share(len(frames)).rows]
        return frames, to_input(data.crops[own.reshape(-1)])

    def losses(self, inside: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Of what was drawn in the mask's box and what is there, (B, 3, h, w) each; `loss_weights` weighs them."""
        return {"l1": self.region.l1(inside, true), "lpips": self.lpips(inside, true).mean()}

    def step(self, frames: np.ndarray, targets: Tensor, schedule: Schedule) -> dict[str, float]:
        """One update on a batch of `draw_batch`; what the losses were."""
        state, number = self.state, self.state.step
        set_learning_rate(state.optimiser, schedule.learning_rate(number, self.options.learning_rate))
        conditions = self._noisy_conditions(frames.reshape(-1), number)
        losses = self._gradient(frames, targets, conditions, self._chances(len(conditions), number))
        found = apply_gradient(self.warp, state.optimiser, losses, ("warp", number), LONGEST_GRADIENT)
        state.average.update(self.warp)
        state.step += 1
        return found

    def _gradient(self, frames: np.ndarray, targets: Tensor, conditions: Tensor, chances: Tensor) -> dict[str, Tensor]:
        """Leave the gradient of a batch in the network, computed in parts that fit; the batch's losses.

        All is of the whole batch, but targets: of the own share of it.
        """
        own = self.processes.share(len(frames))
        per_row = len(conditions) // len(frames)  # a row is a run of frames where the SyncNet's loss counts
        crops = slice(own.rows.start * per_row, own.rows.stop * per_row)
        frames, conditions, chances = frames[own.rows], conditions[crops], chances[crops]
        while True:
            try:
                self.state.optimiser.zero_grad(set_to_none=True)
                summed = self._summed_gradient(frames, targets, conditions, chances, own.part)
                return self.processes.summed(summed)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.processes.count > 1:
                    raise
            if self.limit.lower(len(frames)):
                self._to_cpu()

    def _summed_gradient(
        self, frames: np.ndarray, targets: Tensor, conditions: Tensor, chances: Tensor, whole: float
    ) -> dict[str, Tensor]:
        """whole: what part of the batch's mean these frames make."""
        per_row = len(targets) // len(frames)
        summed: dict[str, Tensor] = {}
        for part in self.limit.parts(len(frames)):
            crops = slice(part.start * per_row, part.stop * per_row)
            share = whole * (part.stop - part.start) / len(frames)
            losses = self._all_losses(frames[part], targets[crops], conditions[crops], chances[crops])
            self.processes.backward(losses["loss"], share)
            for name, value in losses.items():
                own = value.detach() * share
                summed[name] = summed[name] + own if name in summed else own
        return summed

    def _all_losses(
        self, frames: np.ndarray, targets: Tensor, conditions: Tensor, chances: Tensor
    ) -> dict[str, Tensor]:
        """ "loss", and what it is the weighted sum of."""
        targets = targets.to(self.device, memory_format=torch.channels_last)
        conditions = conditions.to(self.device)
        chosen = self._chosen(targets, conditions, torch.from_numpy(frames.reshape(-1)), chances)
        with self.autocast():
            drawn = self._draw(targets, conditions, chosen)
            losses = self.losses(self.region.cut(drawn), self.region.cut(targets))
        if self.syncnet is not None and frames.ndim == 2:
            losses["sync"] = self.syncnet.loss(drawn.float(), self.data, frames)
        loss = torch.stack([self.loss_weights[name] * value for name, value in losses.items()]).sum()
        return {"loss": loss, **losses}

    def _drawn(self, targets: Tensor, conditions: Tensor, chosen: Tensor | None) -> Tensor:
        return self.warp.draw(targets, conditions, self.references, chosen)

    @torch.no_grad()
    def _chosen(self, targets: Tensor, conditions: Tensor, frames: Tensor, chances: Tensor) -> Tensor | None:
        """Any of the nearest, twice as many as a picture is drawn from: a steady choice is not always the best."""
        if not isinstance(self.warp, RetrievalWarpNet):
            return None
        count = self.warp.config.per_frame
        costs = self.warp.costs(targets, conditions, frames)
        near = costs.topk(chances.shape[1], dim=1, largest=False).indices
        some = chances.argsort(dim=1)[:, :count].sort(dim=1).values
        return near.gather(1, some.to(near.device))

    def _to_cpu(self) -> None:
        """Everything that takes part in a step."""
        self.device = self.limit.device
        self.dtype = training_dtype(self.device)
        self.state.to_cpu()
        self.region.weight = self.region.weight.cpu()
        self.lpips.cpu()
        if self.syncnet is not None:
            self.syncnet.network.cpu()
        self.__dict__.pop("references", None)  # cached, on the device that is left

    def autocast(self) -> torch.autocast:
        """The precision that the device trains in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def _chances(self, count: int, step: int) -> Tensor:
        """(count, near) 0..1: by which so many pictures choose among the nearest references, see `_chosen`."""
        random, config = torch.Generator().manual_seed(self.options.seed * 1_000_003 + step), self.warp.config
        return torch.rand(count, min(2 * config.per_frame, config.references), generator=random)

    def _noisy_conditions(self, frames: np.ndarray, step: int) -> Tensor:
        """(B, frames, shape_width); the noise depends on seed and step alone."""
        random = torch.Generator().manual_seed(self.options.seed * 1_000_003 + step)
        shapes = self.conditions[frames]
        return shapes + self.options.shape_noise * torch.randn(shapes.shape, generator=random)
