"""From frames and mouth shapes to the same frames with another mouth."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, UdhError
from ..face.crop import CropSpec
from ..face.occlusion import Occlusion
from ..models.memory import BatchLimit, is_out_of_memory
from ..models.retrieval_warp import RetrievalWarpNet
from ..models.tensors import autocast_dtype, to_input, to_uint8
from ..models.warping import WarpNet, sample_bilinear
from .pixels import Pixels, pixels_for
from .retrieval import choose
from .tint import Tint

Draw = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # as `WarpNet.draw`
# What a reference costs that was not taken before, see `RetrievalWarpNet.costs`: the first, from which the lips are
# drawn, and the others, which make the skin; chosen
CHANGE, CHANGE_OF_SKIN = 1.0, 5.0


class Cut(NamedTuple):
    """What the network is given of a run of consecutive frames."""

    with_face: list[int]  # their places in the run
    crops: np.ndarray  # (n, S, S, 3) uint8
    shapes: Tensor  # (n, frames, shape_width)
    chosen: Tensor | None  # of `Compositor.choose`


@dataclass
class Run:
    """Frames that follow one another. Several may be drawn in turn: what is chosen for one changes no other."""

    taken: np.ndarray | None = None  # (per_frame,) rows of the bank that its last frame was drawn from


class Compositor:
    """Crops a frame, lets the warp network draw, and pastes. What draws is a copy: the network given stays as it is.

    The copy is in the half precision that is faster on its device, in eval mode, and its references are enlarged once.
    Where the device has no memory for a batch, smaller parts are drawn, at last on the CPU, and a warning says so.
    """

    def __init__(
        self,
        network: WarpNet,
        spec: CropSpec,
        transforms: np.ndarray,
        pixels: Pixels | None = None,
        occlusion: Occlusion | None = None,
        tint: Tint | None = None,
    ) -> None:
        """transforms: (N, 2, 3) source px → crop px of every frame, NaN where there is no face to draw.

        pixels: what frames are made of, and what becomes of them; None: RGB. occlusion: what lies before the face;
        None: nothing. tint: of frames of another clip than the network was trained on; None: they are of that one.
        """
        self.spec, self.transforms, self.tint = spec, transforms, tint
        self.occlusion = Occlusion.nothing() if occlusion is None else occlusion
        self._pixels = pixels_for(spec) if pixels is None else pixels
        self.limit = BatchLimit(network.mask.device, "crops")
        self._network = copy.deepcopy(network).eval()
        dtype = autocast_dtype(self.limit.device)
        if dtype is not None:
            self._network.render_in(dtype)
        with torch.no_grad():
            self._references = self._network.enlarge(self._network.references)
        self._draw: Draw = self._network.draw
        self._run = Run()

    def rewind(self) -> None:
        """What is chosen next does not follow what was chosen last."""
        self._run = Run()

    def compile(self, batch: int) -> None:
        """Compile the network for `batch` crops at a time, and run it once, so that what fails does so here.

        UdhError when torch cannot: on a CPU it needs a C++ compiler, on a GPU Triton; OptionError as in
        `check_compilable`.
        """
        check_compilable(self._network)
        config, plain = self._network.config, self._draw
        crops = np.zeros((batch, self.spec.size, self.spec.size, 3), np.uint8)
        self._draw = _in_whole_batches(self._network, batch)
        _import_setuptools()
        try:
            self.generate(crops, torch.zeros(batch, config.frames, config.shape_width))
        except (RuntimeError, OSError) as error:  # torch wraps whatever goes wrong in a RuntimeError
            self._draw = plain
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UdhError(
                f"torch.compile does not work here ({reason}); install a C++ compiler, or render without it"
            ) from error

    @torch.inference_mode()
    def draw(self, crops: Tensor, shapes: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Crops (B, 3, S, S) RGB 0..1 and shapes (B, frames, shape_width) → crops (B, 3, S, S) redrawn, not clipped.

        chosen: of `choose`; None: each picture by itself.
        """
        while True:
            try:
                return torch.cat([self._draw_part(crops, shapes, chosen, p) for p in self.limit.parts(len(crops))])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._draw = self._network.draw  # what is compiled takes whole batches only
            if self.limit.lower(len(crops)):
                self._move()

    @torch.inference_mode(False)
    def _move(self) -> None:
        """To the device that is left; half precision is for the other one."""
        self._network.to(self.limit.device, torch.float32)
        self._references = self._references.to(self.limit.device, torch.float32)

    def _draw_part(self, crops: Tensor, shapes: Tensor, chosen: Tensor | None, part: slice) -> Tensor:
        device = self.limit.device
        crops = crops[part].to(device, memory_format=torch.channels_last)
        taken = None if chosen is None else chosen[part].to(device)
        return self._draw(crops, shapes[part].to(device), self._references, taken)

    @torch.inference_mode()
    def choose(self, crops: np.ndarray, shapes: Tensor, numbers: np.ndarray, run: Run | None = None) -> Tensor | None:
        """(B, per_frame) rows of the bank, the nearest at first; None: they are the same for all.

        The pictures, crops (B, S, S, 3) uint8 of the clip's frames `numbers` (B,) and shapes (B, frames, shape_width),
        are consecutive and follow those chosen for before in `run`, or in the compositor's own: rows change as seldom
        as is good for these B, of what comes after which nothing is known. As in training, none is taken of about the
        same moment.
        """
        network, device = self._network, self.limit.device
        if not isinstance(network, RetrievalWarpNet):
            return None
        frames = torch.from_numpy(numbers) if self.tint is None else None
        costs = network.costs(to_input(crops).to(device), shapes.to(device), frames).cpu().numpy()
        changes = [CHANGE, *[CHANGE_OF_SKIN] * (network.config.per_frame - 1)]
        run = run or self._run
        chosen = choose(costs, changes, run.taken)
        run.taken = chosen[-1]
        return torch.from_numpy(chosen)

    def generate(self, crops: np.ndarray, shapes: Tensor, chosen: Tensor | None = None) -> np.ndarray:
        """Crops (B, S, S, 3) uint8 and shapes (B, frames, shape_width) → crops (B, S, S, 3) uint8 with other mouths.

        chosen: as in `draw`.
        """
        return to_uint8(self.draw(to_input(crops), shapes, chosen))

    def crop(self, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 RGB of a frame like those of `composite`; place (2, 3): px of the frame → crop px."""
        return self._pixels.crop(frame, place)

    def cut(self, frames: Sequence[np.ndarray], numbers: Sequence[int], shapes: Tensor, run: Run | None = None) -> Cut:
        """What the network is given of consecutive frames, see `composite`; run: as in `choose`."""
        with_face = [k for k, number in enumerate(numbers) if np.isfinite(self.transforms[number, 0, 0])]
        crops = [self._pixels.crop(frames[k], self.transforms[numbers[k]]) for k in with_face]
        if not crops:
            return Cut([], np.empty((0, self.spec.size, self.spec.size, 3), np.uint8), shapes[:0], None)
        stacked, conditions = np.stack(crops), shapes[with_face]
        if self.tint is not None:
            stacked = self.tint.to_generators(stacked)
        chosen = self.choose(stacked, conditions, np.array(numbers)[with_face], run)
        return Cut(with_face, stacked, conditions, chosen)

    def paste(self, frames: Sequence[np.ndarray], numbers: Sequence[int], cut: Cut) -> list[np.ndarray]:
        """`frames`, of which `cut` is, with other mouths, see `composite`; in any order, in any thread."""
        return self.paste_patches(frames, numbers, cut, self.patches([cut])[0])

    def patches(self, cuts: Sequence[Cut]) -> list[np.ndarray]:
        """(n, S, S, 3) uint8 of each of the cuts: all are drawn in one batch, whichever runs they are of."""
        crops = np.concatenate([cut.crops for cut in cuts])
        if not len(crops):
            return [cut.crops for cut in cuts]
        taken = [cut.chosen for cut in cuts if cut.chosen is not None]
        chosen = torch.cat(taken) if taken else None
        drawn = self.generate(crops, torch.cat([cut.shapes for cut in cuts]), chosen)
        return np.split(drawn, np.cumsum([len(cut.crops) for cut in cuts])[:-1])

    def paste_patches(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], cut: Cut, patches: np.ndarray
    ) -> list[np.ndarray]:
        """`paste`, with what was drawn of `cut`: patches (n, S, S, 3) uint8."""
        result = list(frames)
        if self.tint is not None and cut.with_face:
            patches = self.tint.to_clips(patches)
        for k, patch in zip(cut.with_face, patches, strict=True):
            occluder = self.occlusion.opacity(numbers[k], self.spec.size)
            result[k] = self._pixels.paste(frames[k], patch, self.transforms[numbers[k]], occluder)
        return result

    def composite(self, frames: Sequence[np.ndarray], numbers: Sequence[int], shapes: Tensor) -> list[np.ndarray]:
        """Frames of the given numbers with other mouths; without a face a frame stays as it is.

        frames: as `pixels` takes them. shapes: (n, frames, shape_width). Pixels
        outside the mask, and of what lies before the face, are the input's own bytes.
        """
        return self.paste(frames, numbers, self.cut(frames, numbers, shapes))


def check_compilable(network: WarpNet) -> None:
    """OptionError where the network draws from a bank: torch 2.13 fails at what reads rows that are chosen late."""
    if isinstance(network, RetrievalWarpNet):
        raise OptionError("a generator that draws from a bank cannot be compiled; render it without compiling")


@torch.library.custom_op("udh::sample", mutates_args=(), schema="(Tensor references, Tensor grids) -> Tensor")
def _sample_as_it_is(references: Tensor, grids: Tensor) -> Tensor:
    """With what torch would compile of sampling, a CPU draws slower than without compiling."""
    return sample_bilinear(references, grids)


@_sample_as_it_is.register_fake
def _(references: Tensor, grids: Tensor) -> Tensor:
    return references.new_empty(*references.shape[:2], *grids.shape[1:3])


def _import_setuptools() -> None:
    """Import what torch.compile will import, so that it succeeds.

    Before Python 3.12 setuptools replaces the standard distutils, and fails at it once anything has looked for pip
    (ComfyUI-Manager and huggingface_hub do). Told not to replace it, setuptools is imported all the same.
    """
    if sys.version_info >= (3, 12) or "setuptools" in sys.modules:
        return
    name = "SETUPTOOLS_USE_DISTUTILS"
    before = os.environ.get(name)
    os.environ[name] = "stdlib"
    try:
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")  # that this use of distutils is deprecated
            import setuptools  # noqa: F401
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _in_whole_batches(network: WarpNet, batch: int) -> Draw:
    """`network.draw`, compiled; fewer crops are filled up, because another size would be compiled anew for 20 s.

    The weights become constants of what is compiled ("freezing").
    """

    def draw_once(crops: Tensor, shapes: Tensor, references: Tensor) -> Tensor:
        return network.draw(crops, shapes, references, sample=_sample_as_it_is)

    compiled = torch.compile(draw_once, fullgraph=True, dynamic=False, options={"freezing": True})

    def draw(crops: Tensor, shapes: Tensor, references: Tensor, chosen: Tensor | None) -> Tensor:
        missing = batch - len(crops)
        if missing <= 0:
            return compiled(crops, shapes, references)
        crops = torch.cat([crops, crops[-1:].expand(missing, -1, -1, -1)])
        shapes = torch.cat([shapes, shapes[-1:].expand(missing, -1, -1)])
        return compiled(crops, shapes, references)[: batch - missing]

    return draw
