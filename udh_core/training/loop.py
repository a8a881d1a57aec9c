"""What all training loops share: schedule, averaged weights, one update, step reports, and what a run saves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DivergedError, MismatchError, OptionError
from ..models import checkpoint
from ..models.checkpoint import Checkpoint
from ..progress import Progress
from .processes import Processes

WARMUP_STEPS = 100  # of the learning rate; chosen
LAST_RATE = 0.02  # of the peak, at the end of the cosine; chosen


@dataclass(frozen=True)
class StepReport(Progress):
    """One optimiser step, and what a validation after it found; `done` is 0..1 of the stage."""

    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    samples_per_s: float = 0.0  # since the run began
    metrics: dict[str, float] = field(default_factory=dict)  # on the held-out part, after a validation
    preview: np.ndarray | None = None  # (H, W, 3) uint8: covered input | generated | target

    @staticmethod
    def of(
        stage: str,
        step: int,
        done: float,
        losses: dict[str, float],
        samples_per_s: float = 0.0,
        metrics: dict[str, float] | None = None,
        preview: np.ndarray | None = None,
        steps: int = 0,
    ) -> StepReport:
        """With the words for people: "step 12 of 600, l1 0.034, 20/s". steps: of the stage, where they end it."""
        words = [f"step {step} of {steps}" if steps else f"step {step}"]
        words += [f"{name} {value:.3f}" for name, value in losses.items() if name != "loss"]
        if list(losses) == ["loss"]:
            words.append(f"loss {losses['loss']:.3f}")
        if samples_per_s:
            words.append(f"{samples_per_s:.0f}/s")
        return StepReport(stage, done, 1.0, ", ".join(words), step, losses, samples_per_s, metrics or {}, preview)


@dataclass
class Schedule:
    """How far a run is, by steps or by the clock, and the learning rate that follows. `spent_s` survives a resume."""

    steps: int
    minutes: float | None
    spent_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)
    agreed_s: float | None = None  # `elapsed_s` until the next `agree`

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.minutes is None or self.minutes > 0):
            raise OptionError("training needs at least 1 step, or more than 0 minutes")

    @property
    def elapsed_s(self) -> float:
        """Seconds trained, those before a resume included."""
        return self.spent_s + time.monotonic() - self.started_s if self.agreed_s is None else self.agreed_s

    def agree(self, processes: Processes) -> None:
        """Of several processes the first says how late it is now; to be called between two steps."""
        if processes.count > 1 and self.minutes is not None:
            self.agreed_s = None
            self.agreed_s = processes.from_first(self.elapsed_s)

    @property
    def last_step(self) -> int:
        """The step that ends the run; 0 where the clock does."""
        return self.steps if self.minutes is None else 0

    def done(self, step: int) -> float:
        """0..1; by the clock where minutes are given."""
        part = self.elapsed_s / (60 * self.minutes) if self.minutes is not None else step / self.steps
        return min(part, 1.0)

    def learning_rate(self, step: int, peak: float, warmup: int = WARMUP_STEPS) -> float:
        """Short linear warm-up, then half a cosine to LAST_RATE of the peak."""
        cosine = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * self.done(step)))
        return peak * min(1.0, (step + 1) / warmup) * cosine


class Speed:
    """Samples per second since it was made."""

    def __init__(self) -> None:
        self.started_s, self.samples = time.monotonic(), 0

    def after(self, samples: int) -> float:
        """Samples per second, with these."""
        self.samples += samples
        return self.samples / max(time.monotonic() - self.started_s, 1e-6)


class Averaged:
    """Exponential moving average of a network's weights: what is validated and saved.

    The decay begins at (1 + n) / (10 + n) after n steps, as in TensorFlow's ExponentialMovingAverage: the untrained
    weights are soon forgotten.
    """

    DECAY = 0.999  # a thousand steps are remembered; chosen

    def __init__(self, network: nn.Module, decay: float = DECAY) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: p.detach().clone().float() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in network.named_parameters():
            self.weights[name].lerp_(parameter.float(), 1 - decay)

    def state(self) -> dict[str, object]:
        """For the resume state."""
        return {"steps": self.steps, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """The opposite of `state`."""
        self.steps = state["steps"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """Within the block the network, in eval mode, has the averaged weights."""
        self.swap(network)
        network.eval()
        try:
            yield
        finally:
            network.train()
            self.swap(network)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange the network's weights with the averaged ones; a second call brings them back."""
        for name, parameter in network.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(kept)


@dataclass
class RunState:
    """What a run saves and brings back: a network, the optimiser of its trained part, and how far it is.

    Lower scores are better; `best_at` is how far (0..1) the run was when it had the best.
    """

    out: Path  # of the checkpoint
    network: nn.Module  # saved whole
    trained: nn.Module  # the part of it that the optimiser changes
    optimiser: torch.optim.Optimizer
    average: Averaged  # of the trained part
    step: int = 0
    spent_s: float = 0.0
    best: float = math.inf
    best_at: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # of the best weights, on the held-out part

    def beats(self, score: float, metrics: dict[str, float], done: float) -> bool:
        """Whether this score is the best so far; it is remembered then."""
        if not score < self.best:
            return False
        self.best, self.best_at, self.metrics = score, done, metrics
        return True

    def to_cpu(self) -> None:
        """Go on there: the trained network, its optimiser and its averaged weights."""
        self.trained.cpu()
        self.optimiser.load_state_dict(self.optimiser.state_dict())  # it goes where its parameters are
        self.average.weights = {name: weight.cpu() for name, weight in self.average.weights.items()}

    def resume_state(self, spent_s: float) -> dict[str, object]:
        """What `restore` brings back."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimiser": {"state": self.optimiser.state_dict()["state"]},
            "best": self.best,
            "best_at": self.best_at,
            "spent_s": spent_s,
        }

    def restore(self, info: Checkpoint, state: dict[str, Any]) -> None:
        """Go on from this resume state; MismatchError, and nothing changed, when another version wrote it."""
        if "best_at" not in state:
            raise MismatchError(f"{self.out}: begun by another version of this program; train anew, without `resume`")
        checkpoint.check_tensors(self.out, self.network.state_dict(), state.get("network", {}))
        checkpoint.check_tensors(self.out, self.average.weights, state.get("average", {}).get("weights", {}))
        self.network.load_state_dict(state["network"])
        self.average.restore(state["average"])
        found = {int(number): values for number, values in state["optimiser"]["state"].items()}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": found, "param_groups": groups})
        self.step, self.spent_s = info.step, state["spent_s"]
        if self.out.is_file():  # without it there is no best one to be kept
            self.best, self.best_at, self.metrics = state["best"], state["best_at"], info.metrics


def take_over(
    processes: Processes,
    of_first: Callable[[], tuple[Checkpoint, dict[str, object]]],
    restore: Callable[[Checkpoint, dict[str, Any]], None],
) -> None:
    """Of several processes all others go on from where the first is: they restore what `of_first` gives there."""
    if processes.count == 1:
        return
    given = None
    if processes.is_first:
        info, state = of_first()
        given = info, _on_cpu(state)
    given = processes.from_first(given)
    if given is not None and not processes.is_first:
        restore(*given)


def _on_cpu(value: Any) -> Any:  # noqa: ANN401 (a resume state, or a part of it)
    if isinstance(value, Tensor):
        return value.cpu()
    return {key: _on_cpu(part) for key, part in value.items()} if isinstance(value, dict) else value


def update(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
    where: tuple[str, int],
    longest: float = math.inf,
) -> dict[str, float]:
    """One optimiser step down losses["loss"]; the values of all losses.

    where: phase and step, for the error. longest: the gradient is shortened to this length. Raises DivergedError, with
    no weight changed, when the loss or its gradient is not finite. Waits for the device once.
    """
    optimiser.zero_grad(set_to_none=True)
    losses["loss"].backward()
    return apply_gradient(network, optimiser, losses, where, longest)


def apply_gradient(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
    where: tuple[str, int],
    longest: float = math.inf,
) -> dict[str, float]:
    """The second half of `update`: the step itself, along gradients that are there already."""
    length = nn.utils.clip_grad_norm_(network.parameters(), longest)
    values = torch.stack([length.float(), *(loss.detach().float() for loss in losses.values())]).tolist()
    found = dict(zip(losses, values[1:], strict=True))
    for what, value in (("loss", found["loss"]), ("gradient", values[0])):
        if not math.isfinite(value):
            raise _diverged(what, *where)
    optimiser.step()
    return found


def check_finite(loss: Tensor, phase: str, step: int) -> None:
    """DivergedError when the loss is not finite; to be called before the step, so that no weight is spoilt."""
    if not torch.isfinite(loss):
        raise _diverged("loss", phase, step)


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


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
