"""A painter's pixels network compiled by torch: some time at the start for some speed after it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .errors import UdhError
from .models.pixels import PixelsNet
from .painter import Painter


def compile_pixels(painter: Painter, batch: int) -> None:
    """Compile the painter's network for `batch` crops at a time, and run it once, so that what fails does so here.

    UdhError when torch cannot: on a CPU it needs a C++ compiler, on a GPU Triton.
    """
    network, config = painter.generator.pixels, painter.generator.config.pixels
    crops = np.zeros((batch, config.size, config.size, 3), np.uint8)
    try:
        network.sample = _sample  # type: ignore[method-assign]
        network.draw = _in_whole_batches(network, batch)  # type: ignore[method-assign]
        painter.redraw(crops, torch.zeros(batch, config.frames, config.shape_width))
    except (RuntimeError, OSError) as error:  # torch wraps whatever goes wrong in a RuntimeError
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UdhError(
            f"torch.compile does not work here ({reason}); install a C++ compiler, or render without it"
        ) from error


@torch.library.custom_op("udh::sample", mutates_args=(), schema="(Tensor references, Tensor grids) -> Tensor")
def _sample(references: Tensor, grids: Tensor) -> Tensor:
    """`PixelsNet.sample` as it is: with what torch would compile of it, a CPU draws slower than without compiling."""
    return PixelsNet.sample(references, grids)


@_sample.register_fake
def _(references: Tensor, grids: Tensor) -> Tensor:
    return references.new_empty(*references.shape[:2], *grids.shape[1:3])


def _in_whole_batches(network: PixelsNet, batch: int):  # noqa: ANN202 (of the type of PixelsNet.draw)
    """`network.draw`, compiled; fewer crops are filled up, because another size would be compiled anew for 30 s.

    The weights become constants of what is compiled ("freezing").
    """
    compiled = torch.compile(network.draw, fullgraph=True, dynamic=False, options={"freezing": True})

    def draw(crops: Tensor, shapes: Tensor, references: Tensor) -> Tensor:
        missing = batch - len(crops)
        if missing <= 0:
            return compiled(crops, shapes, references)
        crops = torch.cat([crops, crops[-1:].expand(missing, -1, -1, -1)])
        shapes = torch.cat([shapes, shapes[-1:].expand(missing, -1, -1)])
        return compiled(crops, shapes, references)[: batch - missing]

    return draw
