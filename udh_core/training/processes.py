"""Processes that train one network together, each with its share of every batch (PyTorch DDP); mostly there is one.

`torchrun` starts them and ends all when one has failed. Everything is done by all of them alike, apart from two things:
a gradient is that of the own rows of the batch before it is averaged; and the first alone writes, validates, fits what
is small, and says how long it goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from ..errors import OptionError, ProcessError
from ..progress import Progress

T = TypeVar("T")

MINUTES = 10  # that the others wait for one of them: for a validation, or from one step to the next
_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # torchrun sends them on, and the second when another process has failed
_STARTED_BY = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # what torchrun puts into the environment


class Share(NamedTuple):
    """What one process computes of a batch."""

    rows: slice
    part: float  # of the batch's mean, 0..1, that these rows make


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # on this machine
    store: dist.Store | None = None  # pyright: ignore[reportPrivateImportUsage] (what all of them see)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and decides."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Of this process: on one machine each has a GPU of its own. OptionError when there is none for it."""
        if self.count == 1 or name == "cpu":
            return name
        if name != "cuda":
            raise OptionError(
                f"{self.count} processes cannot train on {name}; give `device` cuda, of which each takes the one of "
                "its number, or cpu"
            )
        if self.local_rank >= (found := torch.cuda.device_count()):
            raise OptionError(
                f"this machine has {found} GPUs that torch can use, fewer than processes; start one for each with "
                "`nproc_per_node`, or give `device` cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"

    def check_batch(self, size: int, remedy: str) -> None:
        """OptionError when a batch of so many rows leaves a process without one."""
        if size < self.count:
            raise OptionError(f"{self.count} processes cannot share a batch of {size}; start {size} at most, {remedy}")

    def share(self, size: int) -> Share:
        """Of a batch of so many rows, as even as it can be.

        A process for which there is none computes the first for nothing: all have to take part.
        """
        start, stop = size * self.rank // self.count, size * (self.rank + 1) // self.count
        return Share(slice(start, stop), (stop - start) / size) if stop > start else Share(slice(0, 1), 0.0)

    def averaging(self, network: nn.Module, compute: Callable[..., T]) -> Callable[..., T]:
        """`compute`, which uses the network; what `backward` then leaves in it is the average of all processes.

        They have the same network already.
        """
        if self.count == 1:
            return compute
        with _reaching_others():
            shared = nn.parallel.DistributedDataParallel(_Computation(network, compute))

        def call(*inputs: object) -> T:
            with _reaching_others():
                return shared(*inputs)

        return call

    def backward(self, loss: Tensor, part: float) -> None:
        """Of the loss of rows that make this part of the batch's mean."""
        with _reaching_others():
            (loss * (part * self.count)).backward()  # the average divides by the count

    def summed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars that each process has of its own rows, over all rows."""
        if self.count == 1:
            return values
        total = torch.stack([value.detach().float() for value in values.values()])
        with _reaching_others():
            dist.all_reduce(total)
        return dict(zip(values, total, strict=True))

    def gathered(self, own: Tensor, rows: slice, size: int) -> Tensor:
        """(size, …) of the rows that each process has; the gradient of all processes flows back into them."""
        if self.count == 1:
            return own
        others = own.new_zeros(size, *own.shape[1:])
        return _Summed.apply(torch.cat([others[: rows.start], own, others[rows.stop :]]))

    def from_first(self, value: T) -> T:
        """The value that the first process has, any that can be pickled, its tensors on the CPU."""
        if self.count == 1:
            return value
        box: list[Any] = [value if self.is_first else None]
        with _reaching_others():
            dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def by_first(self, steps: Generator[Progress, None, None]) -> Generator[Progress, None, None]:
        """Steps that the first takes; the others wait as long as there are any."""
        with closing(steps):
            if self.count == 1:
                yield from steps
            elif self.is_first:
                for step in steps:
                    self.from_first(True)
                    yield step
                self.from_first(False)
            else:
                while self.from_first(False):
                    yield Progress("the first process", 0)

    def is_first_to_fail(self) -> bool:
        """Whether no process has asked this before: why a run failed is said once."""
        if self.store is None:
            return True
        try:
            return self.store.add("failed", 1) == 1
        except RuntimeError:  # the machine that holds the store is gone
            return True


ALONE = Processes()


def started_together(environ: Mapping[str, str]) -> bool:
    """Whether torchrun has started this process beside others."""
    return all(name in environ for name in _STARTED_BY) and environ["WORLD_SIZE"] != "1"


@contextmanager
def joined(environ: Mapping[str, str], device: str) -> Iterator[Processes]:
    """The processes that torchrun has started, or this one alone. device: that they train on, "cpu" or "cuda"."""
    if not started_together(environ):
        yield ALONE
        return
    if not dist.is_available():
        raise OptionError("this torch cannot train with several processes; start one, without torchrun")
    timeout = timedelta(minutes=MINUTES)
    try:
        store, rank, count = next(rendezvous("env://", timeout=timeout))
        local_rank = int(environ["LOCAL_RANK"])
    except ValueError as error:
        raise OptionError(f"processes that train together are to be started by torchrun ({error})") from error
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") and dist.is_nccl_available() else "gloo"
    with _reaching_others():
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
    for one in _SIGNALS:
        signal.signal(one, _end)
    yield Processes(rank, count, local_rank, store)
    dist.destroy_process_group()  # not after an error, where others may wait for what never comes


def _end(*_: object) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """What is saved at the end is not interrupted by being asked again; torchrun kills whatever takes 30 s."""
    for one in _SIGNALS:
        signal.signal(one, lambda *_: None)


@contextmanager
def _reaching_others() -> Iterator[None]:
    """ProcessError when one of the processes is gone or does not answer."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            _ignore_signals()
            raise ProcessError(
                f"another process of this training has ended, or was silent for {MINUTES} minutes; look for the reason "
                "there, then go on with `resume`"
            ) from error
        raise


class _Computation(nn.Module):
    """What is computed with a network, as the module that DistributedDataParallel wants.

    It has no buffers, which would be sent with every batch.
    """

    def __init__(self, network: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.trained, self._compute = nn.ParameterList(network.parameters()), compute

    def forward(self, *inputs: object) -> object:
        """Whatever `compute` makes of them."""
        return self._compute(*inputs)


class _Summed(torch.autograd.Function):
    """The sum over all processes of a tensor, and, backwards, of the gradients that they have for it."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = values.clone()
        with _reaching_others():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.clone()
        dist.all_reduce(total)
        return total
