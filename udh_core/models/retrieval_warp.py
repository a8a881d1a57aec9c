"""A warp network that draws each picture from the nearest of many real crops, where the mesh says they have to go.

The network sees the references as the mesh warps them (`guided_warp`), adds what that lacks, blends, and adds a small
residual. Around the lips it does not blend: the mean of two rows of teeth is no row of teeth. There the nearest
reference is drawn, and two only while they are equally near, so that one follows the other without a jump.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..face.crop import CropSpec
from .blocks import identity_grid, unshuffle_channels_last
from .guided_warp import GuidedWarpNet
from .warping import FLOW_REACH, Sample, WarpConfig, sample_bicubic

APART = 13  # frames: what is nearer to the edited frame shows what has to be drawn; half a second
MARGIN = 24 / 256  # of the crop around the mask's box: as far as references are kept to be sampled
# Differences of `costs` by which one reference weighs e times another: on the skin, before training, and at the lips
SKIN_TEMPERATURE, LIPS_TEMPERATURE = 0.5, 0.05  # chosen; with 0.1 the teeth of two crops mix to grey


class RetrievalWarpNet(GuidedWarpNet):
    """`references` is a bank of crops; `config.per_frame` of them are taken for each picture."""

    bank_frames: Tensor
    lips: Tensor
    own_grid: Tensor
    to_region: Tensor

    def __init__(self, config: WarpConfig, spec: CropSpec) -> None:
        super().__init__(config, spec)
        stride, (rows, columns) = config.stride, self.box
        self.register_buffer("bank_frames", torch.full((config.references,), -APART, dtype=torch.int64))
        cells = (rows.stop - rows.start) // stride, (columns.stop - columns.start) // stride
        self.register_buffer("lips", torch.zeros(1, 1, *cells))
        self.region = tuple(_with_margin(part, spec.size, stride) for part in self.box)
        height, width = (part.stop - part.start for part in self.region)
        inside = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(self.box, self.region, strict=True)]
        with torch.device("cpu"):  # as in `WarpNet`
            self.register_buffer("own_grid", identity_grid(height, width, inside[0], inside[1]), persistent=False)
            to_region = torch.tensor([2 * spec.size / width, 2 * spec.size / height])
        self.register_buffer("to_region", to_region, persistent=False)
        self.input_conv = nn.Conv2d(4 * stride**2 + 12 * config.per_frame, config.widths[0], 3, padding=1)

    def draw(
        self,
        crops: Tensor,
        shapes: Tensor,
        references: Tensor,
        chosen: Tensor | None = None,
        sample: Sample = sample_bicubic,
    ) -> Tensor:
        """As `WarpNet.draw`. chosen: (B, per_frame) int64 rows of the bank; None: the nearest of each picture.

        `sample`: computes what `sample_bicubic` does.
        """
        crops = crops.contiguous()
        masked = self.mask_input(crops)
        if chosen is None:
            chosen = self.choose(crops, shapes)
        with torch.autocast(masked.device.type, enabled=False):
            taken = references[chosen].float() / 255.0
            moved = self.reference_description[chosen] - self.description(masked, shapes)[:, None]
            start, costs = self._flows(moved), self._distances(moved)
        condition = self._condition(masked, shapes)
        inputs = torch.cat(
            [unshuffle_channels_last(masked, self.config.stride), self._seen(taken, start, sample)], dim=1
        )
        features = self._body(inputs.contiguous(memory_format=torch.channels_last), condition)
        flows, logits = self._heads(features, condition, None)
        with torch.autocast(masked.device.type, enabled=False):
            warped = self._warped(taken, start + FLOW_REACH * flows, sample)
            redrawn = (warped * self._blend(logits, costs)).sum(1)
        return self._composite(crops, redrawn + self._residual(features))

    def choose(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, per_frame) int64 rows of the bank, the nearest first, each picture by itself; frames: see `costs`."""
        return self.costs(crops, shapes, frames).topk(self.config.per_frame, dim=1, largest=False).indices

    def costs(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, M) float32 squared distances of pictures and bank, see `_distances`.

        frames (B,): their numbers in the clip the bank is from, infinitely far from what is less than APART from them.
        """
        with torch.autocast(crops.device.type, enabled=False):
            description = self.description(self.mask_input(crops.contiguous()), shapes)
            costs = self._distances(self.reference_description[None] - description[:, None])
        if frames is not None:
            near = (frames[:, None].to(self.bank_frames.device) - self.bank_frames[None]).abs() < APART
            costs = costs.masked_fill(near, torch.inf)
        return costs

    def enlarge(self, references: Tensor) -> Tensor:
        """(M, 3, S, S) uint8 → what `draw` samples of them, (M, 3, h, w) uint8: cubically, so nothing is enlarged."""
        rows, columns = self.region
        return references[:, :, rows, columns].contiguous()

    def _grid(self, flow: Tensor, size: tuple[int, int]) -> Tensor:
        """Flow (n, 2, h, w) in crop widths → (n, *size, 2) coordinates of the region."""
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        own = F.interpolate(self.own_grid.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)
        return own + flow * self.to_region

    def _seen(self, taken: Tensor, start: Tensor, sample: Sample) -> Tensor:
        """(B, 12 · per_frame, s, s): the references as the mesh warps them, four px to a cell; 0 outside the box."""
        stride, (rows, columns) = self.config.stride, self.box
        height, width = start.shape[-2:]
        with torch.autocast(taken.device.type, enabled=False):
            small = F.avg_pool2d(taken.flatten(0, 1), stride // 2)
            grid = self._grid(start.flatten(0, 1), (2 * height, 2 * width))
            seen = F.pixel_unshuffle(sample(small, grid), 2)
        seen = seen.unflatten(0, (-1, self.config.per_frame)).flatten(1, 2)
        cells = self.config.size // stride
        across = columns.start // stride, cells - columns.stop // stride
        return F.pad(seen, (*across, rows.start // stride, cells - rows.stop // stride))

    def _warped(self, taken: Tensor, flow: Tensor, sample: Sample) -> Tensor:
        """References (B, per_frame, 3, …), each moved by flow (B, per_frame, 2, h, w), inside the mask's box."""
        grid = self._grid(flow.flatten(0, 1), (self.grid.shape[0], self.grid.shape[1]))
        return sample(taken.flatten(0, 1), grid).unflatten(0, (-1, self.config.per_frame))

    def _blend(self, logits: Tensor, costs: Tensor) -> Tensor:
        """(B, per_frame, 1, H, W) weights inside the mask's box of logits (B, per_frame, h, w), costs (B, per_frame).

        What the network has learnt decides on the skin; at the lips nearness alone.
        """
        near = -costs[:, :, None, None]
        of_skin = (logits + near / SKIN_TEMPERATURE).softmax(dim=1)
        of_lips = (near / LIPS_TEMPERATURE).softmax(dim=1)
        size = (self.grid.shape[0], self.grid.shape[1])
        blend = of_skin.lerp(of_lips.expand_as(of_skin), self.lips)
        return F.interpolate(blend, size=size, mode="bilinear", align_corners=False)[:, :, None]


def _with_margin(part: slice, size: int, stride: int) -> slice:
    margin = round(MARGIN * size / stride) * stride
    return slice(max(part.start - margin, 0), min(part.stop + margin, size))
