"""What both training loops share: the schedule, averaged weights, when to stop, and step reports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..errors import DivergedError, OptionError


@dataclass(frozen=True)
class StepReport:
    """What one optimiser step, or one look at the held-out part, tells the host."""

    phase: str  # "syncnet", "speech", "motion" or "warp"
    step: int
    done: float  # 0..1 of the whole run
    losses: dict[str, float]
    rate: float = 0.0  # samples per second since the run began
    metrics: dict[str, float] = field(default_factory=dict)  # on the held-out part, when it was looked at
    preview: np.ndarray | None = None  # (H, W, 3) uint8: covered input | generated | target


Reports = Generator[StepReport, None, None]  # of a run; closing it is Cancel


@dataclass
class Schedule:
    """How far a run is, by steps or by the clock, and the learning rate that follows. `spent_s` survives a resume."""

    steps: int
    minutes: float | None
    spent_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.minutes is None or self.minutes > 0):
            raise OptionError("training needs at least 1 step, or more than 0 minutes")

    @property
    def elapsed_s(self) -> float:
        return self.spent_s + time.monotonic() - self.started_s

    def done(self, step: int) -> float:
        """0..1; by the clock where minutes are given."""
        part = self.elapsed_s / (60 * self.minutes) if self.minutes is not None else step / self.steps
        return min(part, 1.0)

    def rate(self, step: int, peak: float, warmup: int = 100) -> float:
        """Learning rate: short linear warm-up, then half a cosine to 2 % of the peak."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.done(step)))
        return peak * min(1.0, (step + 1) / warmup) * cosine


class Averaged:
    """Exponential moving average of a network's weights: what is judged and saved."""

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: p.detach().clone().float() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in network.named_parameters():
            self.weights[name].lerp_(parameter.float(), 1 - decay)

    def state(self) -> dict[str, object]:
        return {"steps": self.steps, "weights": self.weights}

    def restore(self, state: dict) -> None:
        self.steps = state["steps"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange the network's weights with the averaged ones; a second call brings them back."""
        for name, parameter in network.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(kept)


def check_finite(loss: torch.Tensor, phase: str, step: int) -> None:
    """DivergedError when the loss is not finite; to be asked before the step, so that no weight is spoilt."""
    if not torch.isfinite(loss):
        raise _diverged("loss", phase, step)


def clip_gradients(network: nn.Module, phase: str, step: int, longest: float = math.inf) -> None:
    """Shorten the network's gradient to this length; DivergedError when it is not finite, however finite the loss."""
    if not torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), longest)):
        raise _diverged("gradient", phase, step)


def _diverged(what: str, phase: str, step: int) -> DivergedError:
    return DivergedError(
        f"{phase} training diverged at step {step}, its {what} is not finite; lower the learning rate "
        "(what was saved before is whole)"
    )


@contextmanager
def saving_at_the_end(save: Callable[[], None]) -> Iterator[None]:
    """Save however the block ends, by Cancel, too; only a run that diverged leaves the file as it was."""
    whole = True
    try:
        yield
    except DivergedError:
        whole = False
        raise
    finally:
        if whole:
            save()


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, object]:
    return {"state": optimiser.state_dict()["state"]}


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict) -> None:
    own = optimiser.state_dict()
    optimiser.load_state_dict(
        {"state": {int(k): v for k, v in state["state"].items()}, "param_groups": own["param_groups"]}
    )
