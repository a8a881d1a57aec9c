"""What to do when a device has no memory for a batch: smaller parts of it, then the CPU; and it is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from ..errors import OUT_OF_MEMORY

_log = logging.getLogger(__name__)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device has no memory left."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


class BatchLimit:
    """How much of a batch a device takes at a time: all of it, until it has run out of memory."""

    def __init__(self, device: torch.device, what: str) -> None:
        """what: what a batch consists of, for people: "crops"."""
        self.device, self._what = device, what
        self._most: int | None = None

    def parts(self, count: int) -> Iterator[slice]:
        """A batch of `count` as parts that fit."""
        size = min(count, self._most or count)
        for start in range(0, count, max(1, size)):
            yield slice(start, min(start + size, count))

    def lower(self, count: int) -> bool:
        """Take half as much of a batch of `count` from now on; when that was a single one, go to the CPU.

        Returns whether what computes has to move there. RuntimeError when it is there already.
        """
        tried, what = min(count, self._most or count), self._what
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried > 1:
            self._most = (tried + 1) // 2
            _log.warning("%s has no memory for %d %s at a time; going on with %d", self.device, tried, what, self._most)
            return False
        if self.device == torch.device("cpu"):
            raise RuntimeError(f"out of memory: there is not enough for one of the {what}")
        _log.warning("%s has no memory for one of the %s; going on, slowly, on the CPU", self.device, what)
        self.device, self._most = torch.device("cpu"), None
        return True
