"""A warp network that draws each picture from the nearest of many real crops, where the mesh says they have to go.

The description of a picture, D numbers: the mouth shape, the pose of the head, and the products of its two angles. The
places of landmarks are linear in it (fitted to the clip), and the flow from one picture to another is linear in the
movement of landmarks (`mesh_warp`); so the flow a reference needs is one matrix times the difference of two
descriptions. The network adds what that flow lacks, blends, and adds a small residual. Around the lips it does not
blend: the mean of two rows of teeth is no row of teeth. There the nearest reference is drawn, and two only while they
are equally near, so that one follows the other without a jump.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..face.crop import CropSpec
from .blocks import identity_grid, unshuffle_channels_last
from .warping import FLOW_REACH, POSE, Sample, WarpConfig, WarpNet, sample_bicubic

ANGLES = 2  # components of the pose whose products describe a picture, too
APART = 13  # frames: what is nearer to the edited frame shows what has to be drawn; half a second
MARGIN = 24 / 256  # of the crop around the mask's box: as far as references are kept to be sampled
# Differences of `costs` by which one reference weighs e times another: on the skin, before training, and at the lips
SKIN_TEMPERATURE, LIPS_TEMPERATURE = 0.5, 0.05  # chosen; with 0.1 the teeth of two crops mix to grey


def described_by(shape_width: int) -> int:
    """How many numbers describe a picture."""
    return shape_width + POSE + ANGLES * (ANGLES + 1) // 2


def describe(shapes: Tensor, pose: Tensor) -> Tensor:
    """Shapes (…, shape_width) and pose (…, POSE), both in standard deviations → (…, D)."""
    products = [pose[..., i] * pose[..., k] for i in range(ANGLES) for k in range(i, ANGLES)]
    return torch.cat([shapes, pose, torch.stack(products, dim=-1)], dim=-1)


class RetrievalWarpNet(WarpNet):
    """`references` is a bank of crops; `config.per_frame` of them are taken for each picture."""

    bank_description: Tensor
    bank_frames: Tensor
    mesh_flow: Tensor
    metric: Tensor
    lips: Tensor
    own_grid: Tensor
    to_region: Tensor

    def __init__(self, config: WarpConfig, spec: CropSpec) -> None:
        super().__init__(config, spec)
        described, stride = described_by(config.shape_width), config.stride
        rows, columns = self.box
        self.register_buffer("bank_description", torch.zeros(config.references, described))
        self.register_buffer("bank_frames", torch.full((config.references,), -APART, dtype=torch.int64))
        cells = (rows.stop - rows.start) // stride, (columns.stop - columns.start) // stride
        self.register_buffer("mesh_flow", torch.zeros(described, 2, *cells))
        self.register_buffer("metric", torch.zeros(described, described))
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
            moved = self.bank_description[chosen] - self.description(masked, shapes)[:, None]
            start = torch.einsum("bkd,dxhw->bkxhw", moved, self.mesh_flow)
            costs = (moved @ self.metric).square().sum(-1)
        condition = self._condition(masked, shapes)
        inputs = torch.cat(
            [unshuffle_channels_last(masked, self.config.stride), self._seen(taken, start, sample)], dim=1
        )
        features = self._body(inputs.contiguous(memory_format=torch.channels_last), condition)
        flows, logits = self._heads(features, condition)
        with torch.autocast(masked.device.type, enabled=False):
            warped = self._warped(taken, start + FLOW_REACH * flows, sample)
            redrawn = (warped * self._blend(logits, costs)).sum(1)
        return self._composite(crops, redrawn + self._residual(features))

    def choose(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, per_frame) int64 rows of the bank, the nearest first, each picture by itself; frames: see `costs`."""
        return self.costs(crops, shapes, frames).topk(self.config.per_frame, dim=1, largest=False).indices

    def costs(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, M) float32 squared distances of pictures and bank: summed over landmarks, the lips weighed more.

        1 is the typical one of a picture in the bank to the nearest that is no neighbour. frames (B,): their numbers in
        the clip the bank is from, infinitely far from what is less than APART from them.
        """
        with torch.autocast(crops.device.type, enabled=False):
            description = self.description(self.mask_input(crops.contiguous()), shapes)
            moved = self.bank_description[None] - description[:, None]
            costs = (moved @ self.metric).square().sum(-1)
        if frames is not None:
            near = (frames[:, None].to(self.bank_frames.device) - self.bank_frames[None]).abs() < APART
            costs = costs.masked_fill(near, torch.inf)
        return costs

    def description(self, masked: Tensor, shapes: Tensor) -> Tensor:
        """(B, D) float32 of masked crops (B, 4, S, S) and shapes (B, frames, shape_width)."""
        return describe(self._scaled(shapes[:, shapes.shape[1] // 2].float()), self.pose(masked))

    def enlarge(self, references: Tensor) -> Tensor:
        """(M, 3, S, S) uint8 → what `draw` samples of them, (M, 3, h, w) uint8: cubically, so nothing is enlarged."""
        rows, columns = self.region
        return references[:, :, rows, columns].contiguous()

    def _heads(self, features: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Flows (B, per_frame, 2, h, w), 1 as far as FLOW_REACH, and logits (B, per_frame, h, w), float32, per cell."""
        count = self.config.per_frame
        flows, logits = self._in_box(self.flow_head(features)).float().split([2 * count, count], dim=1)
        return flows.unflatten(1, (count, 2)), logits + self.blend_head(condition).float()[:, :, None, None]

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
