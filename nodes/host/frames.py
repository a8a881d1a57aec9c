"""The pictures of a render as IMAGE or MASK: all at once in main memory, so only where they are taken, and fit."""

from __future__ import annotations

import math

import numpy as np
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ...udh_core.errors import MediaError
from .device import free_ram_bytes
from .prompt import Linked

RAM_SHARE = 0.5  # of the free main memory that the frames may take


class Frames:
    """The array that a render fills, and the value of an output that hands it out.

    linked: whether a node takes that output. Perhaps: the pictures are made if they fit. what: they are.
    """

    def __init__(self, linked: Linked, what: str = "frames") -> None:
        self.linked = linked
        self._kept: np.ndarray | None = None  # (N, H, W, 3) or (N, H, W), float32 0..1
        self._why_not = f"Lip Sync Render made no {what}, because nothing took them; run the graph again"

    @property
    def are_wanted(self) -> bool:
        """Whether there is something to fill."""
        return self.linked != "no"

    def space(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """The array for pictures (N, H, W, 3) or (N, H, W); MediaError when a node takes them and they do not fit."""
        refusal = does_not_fit(shape, free_ram_bytes())
        if not refusal:
            self._kept = np.empty(shape, np.float32)
        elif self.linked == "yes":
            raise MediaError(refusal)
        else:
            self._why_not = refusal
        return self._kept

    def image(self) -> torch.Tensor | ExecutionBlocker:
        """What the output hands out; a node that takes pictures which there are none of is stopped with the reason."""
        return ExecutionBlocker(self._why_not) if self._kept is None else torch.from_numpy(self._kept)


def does_not_fit(shape: tuple[int, ...], free_bytes: int) -> str:
    """Why pictures (N, H, W, 3) or (N, H, W) cannot be an IMAGE, and what to do; "" where they can."""
    needed, limit = math.prod(shape) * 4, int(free_bytes * RAM_SHARE)
    if needed <= limit:
        return ""
    count, height, width = shape[:3]
    return (
        f"the {count} frames of {width}×{height} px need {needed / 1e9:.1f} GB of memory as IMAGE, the limit is "
        f"{limit / 1e9:.1f} GB (half of what is free); use the video output, which is a file, or a shorter audio"
    )
