"""Workers of a Ray cluster: the same jobs by the same code, on machines that see the same folders."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .jobs import AnyJob
from .outcome import Outcome
from .work import perform

if TYPE_CHECKING:
    from ray import ObjectRef

ANSWER_S = 10.0


class RayPool:
    """One Ray task for each job, one processor for each task, and one GPU where the job's device is one.

    Ray repeats nothing by itself: what is tried again, and how often, is the same as with workers of this machine.
    OptionError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None, workers: int | None) -> None:
        self._ray = _connected(address)
        self._workers = workers
        self._task = self._ray.remote(max_retries=0)(perform)
        self._running: dict[ObjectRef[Outcome], int] = {}

    def room(self) -> int:
        """How many more jobs can begin at once: machines may join and leave."""
        processors = int(self._ray.cluster_resources().get("CPU", 0))
        return (self._workers or processors) - len(self._running)

    def start(self, number: int, task: AnyJob, again: bool) -> None:
        """Begin a job; `again`: it was begun before."""
        gpus = 1 if task.device.startswith("cuda") else 0
        self._running[self._task.options(num_cpus=1, num_gpus=gpus).remote(task, again)] = number

    def wait(self, timeout_s: float) -> list[tuple[int, Outcome]]:
        """Which jobs have ended, and how, when one of those that run does, or the time is over."""
        ended, _ = self._ray.wait(list(self._running), timeout=timeout_s)
        return [(self._running.pop(one), self._outcome(one)) for one in ended]

    def close(self) -> None:
        """End the tasks, whatever they do; the cluster stays."""
        for one in self._running:
            self._ray.cancel(one, force=True)
        self._running = {}
        self._ray.shutdown()

    def _outcome(self, task: ObjectRef[Outcome]) -> Outcome:
        errors = self._ray.exceptions
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:  # the job itself raises nothing: its code is not there, or another
            last = str(error).strip().splitlines()[-1]
            return Outcome("program", f"{last}; install the same version of this package on every machine")
        except errors.RayError as error:
            return Outcome("worker", f"the worker died ({type(error).__name__})")


def _connected(address: str | None) -> Any:  # noqa: ANN401 (the module, which need not be installed)
    try:
        import ray
    except ImportError as e:
        raise OptionError("Ray is not installed: pip install ray, or take `engine` local") from e
    try:
        if address is not None and address != "auto":
            _check_answers(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError) as e:  # ConnectionError is an OSError
        where = f"at {address}" if address else "where Ray looks for one"
        raise OptionError(f"no Ray cluster answers {where}: start one, or mend `address` (host:port)") from e
    return ray


def _check_answers(address: str) -> None:
    """OSError or ValueError at once, where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), ANSWER_S).close()
