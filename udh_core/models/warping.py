"""The warp network: mouth shape + the covered crop → where to take real pixels from, how to mix them, what to add."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..face.crop import CropSpec, hidden, mask, mask_box
from .blocks import (
    ResidualBlock,
    box_blur,
    identity_grid,
    shuffle_without_repetition,
    unshuffle_channels_last,
    upsample_matrix,
)
from .config import Config

FLOW_REACH = 0.25  # of the crop: how far a flow of 1 reaches
RESIDUAL_REACH = 0.5
POSE_INPUT_PX = 16  # px squared: the pose of the head is regressed from the masked crop, shrunk to this
POSE = 4  # principal components of the places of what speech does not move
Sample = Callable[[Tensor, Tensor], Tensor]  # as `sample_bilinear`
_HALO = 3  # cells around the mask's box: as far as the last block and the flows' convolution see
RIDGE = 0.1  # of the regression of the pose


def sample_bilinear(references: Tensor, grids: Tensor) -> Tensor:
    """references (K, 3, H, W) at grids (K, h, w, 2), -1..1 → (K, 3, h, w)."""
    return F.grid_sample(references, grids, mode="bilinear", padding_mode="border", align_corners=False)


def sample_bicubic(references: Tensor, grids: Tensor) -> Tensor:
    """As `sample_bilinear`; it keeps the detail of references that are not enlarged."""
    return F.grid_sample(references, grids, mode="bicubic", padding_mode="border", align_corners=False)


class Guide(NamedTuple):
    """Where flows and blend of a picture begin; the network adds its part."""

    flows: Tensor  # (B, K, 2, h, w) per cell of the mask's box, 1 as far as FLOW_REACH
    logits: Tensor  # (B, K, h, w), or (B, K, 1, 1)


@dataclass(frozen=True)
class WarpConfig(Config):
    """Sizes of the warp network. `stride` is the scale its body works at: it sees size/stride squared."""

    size: int = 256
    stride: int = 0  # 0 = by size, so that the body works on 32 to 40 px squared
    references: int = 4
    per_frame: int = 64  # references at most that a frame is drawn from: of more, the nearest (`retrieval_warp.py`)
    shape_width: int = 12
    frames: int = 3  # mouth shapes of this many consecutive frames condition one output
    widths: tuple[int, ...] = (64, 96, 128, 192)
    condition: int = 256
    flows: int = (
        1  # 1: begin at no movement; 2: where the mesh says (`guided_warp.py`); 3: and the body; 4: and are learnt
    )
    residual: int = 1  # 1: pixels as they are shuffled; 2: without what repeats from cell to cell, seen as dots

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_frame", min(self.per_frame, self.references))
        if not self.stride:
            object.__setattr__(self, "stride", 4 if self.size <= 192 else 8 if self.size <= 352 else 16)

    @property
    def retrieves(self) -> bool:
        """Whether each frame has its own references."""
        return self.per_frame < self.references

    @property
    def knows_body(self) -> bool:
        """Whether flows begin below the jaw where the body is."""
        return self.flows >= 3

    @property
    def learns_guide(self) -> bool:
        """Whether training goes on from what mesh and body say, and does not only add to it."""
        return self.flows >= 4

    @property
    def enlarged(self) -> int:
        """How many times larger the references are sampled from than they are kept; 512 px ones would fill memory."""
        return 3 if self.size <= 320 else 2


class WarpNet(nn.Module):
    """Warps the person's own reference crops by flows and adds a small residual.

    References are constants of the model, fixed over a render. Nothing of the edited frame's mouth, jaw or neck
    enters: `forward` masks it before the network sees the crop.
    """

    references: Tensor
    sharpening: Tensor
    amplitude: Tensor
    pose_weight: Tensor
    pose_bias: Tensor
    hidden: Tensor
    fill: Tensor
    grid: Tensor
    upsample_rows: Tensor
    upsample_columns: Tensor
    upsample_pairs: Tensor
    mask: Tensor

    def __init__(self, config: WarpConfig, spec: CropSpec) -> None:
        super().__init__()
        self.config = config
        rows, columns = mask_box(spec, config.stride)
        self.box = (rows, columns)
        cells = config.size // config.stride
        self.near = tuple(_widened(part, config.stride, cells) for part in self.box)
        widths, condition = config.widths, config.condition
        self.register_buffer("references", torch.zeros(config.references, 3, spec.size, spec.size, dtype=torch.uint8))
        # both are calibrated when training is over and count in eval mode only
        self.register_buffer("sharpening", torch.zeros(()))
        self.register_buffer("amplitude", torch.ones(()))
        self.register_buffer("pose_weight", torch.zeros(3 * POSE_INPUT_PX**2, POSE))
        self.register_buffer("pose_bias", torch.zeros(POSE))
        self.register_buffer("hidden", torch.from_numpy(hidden(spec).copy())[None, None].float(), persistent=False)
        self.register_buffer("fill", torch.tensor(0.5), persistent=False)
        self.register_buffer("mask", torch.from_numpy(mask(spec).copy())[None, None], persistent=False)
        with torch.device("cpu"):  # even where nothing else takes memory: small, and without sympy's import of 2 s
            wider = upsample_matrix(columns.stop - columns.start, config.stride)
            taller = upsample_matrix(rows.stop - rows.start, config.stride)
            self.register_buffer("grid", identity_grid(spec.size, spec.size, rows, columns), persistent=False)
            self.register_buffer("upsample_rows", taller.T, persistent=False)
            self.register_buffer("upsample_columns", wider, persistent=False)
            self.register_buffer("upsample_pairs", torch.kron(wider, torch.eye(2)), persistent=False)
        self.condition_mlp = nn.Sequential(
            nn.Linear(config.shape_width * config.frames + POSE, condition),
            nn.GELU(),
            nn.Linear(condition, condition),
            nn.GELU(),
        )
        self.input_conv = nn.Conv2d(4 * config.stride**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(a, b) for a, b in zip((widths[0], *widths[:-1]), widths, strict=True))
        self.middle = ResidualBlock(widths[-1], widths[-1], condition)
        self.up = nn.ModuleList(
            ResidualBlock(a + b, b, condition) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.flow_head = nn.Conv2d(widths[0], 3 * config.per_frame, 3, padding=1)
        self.residual_head = nn.Conv2d(widths[0], 3 * config.stride**2, 3, padding=1)
        self.blend_head = nn.Linear(condition, config.per_frame)
        for head in (self.flow_head, self.residual_head, self.blend_head):
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def mask_input(self, crops: Tensor) -> Tensor:
        """crops (B, 3, S, S) → (B, 4, S, S): what is hidden set to grey, and the mask of what is hidden."""
        seen = crops.lerp(self.fill, self.hidden)  # a weight of 1 leaves nothing of the crop
        return torch.cat([seen, self.hidden.expand(crops.shape[0], -1, -1, -1)], dim=1)

    def forward(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor:
        """crops (B, 3, S, S) RGB 0..1, shapes (B, frames, shape_width) → redrawn crops (B, 3, S, S), not clipped.

        Outside the mask the result is the input. frames: see `choose`.
        """
        return self.draw(crops, shapes, self.enlarge(self.references), self.choose(crops, shapes, frames))

    def choose(self, crops: Tensor, shapes: Tensor, frames: Tensor | None = None) -> Tensor | None:
        """Which references each picture is drawn from: here always all.

        frames: (B,) int64 numbers of the frames in the clip the references are from.
        """
        return None

    def draw(
        self,
        crops: Tensor,
        shapes: Tensor,
        references: Tensor,
        chosen: Tensor | None = None,
        sample: Sample = sample_bilinear,
    ) -> Tensor:
        """`forward` with what it needs only once: the enlarged references (K, 3, f·S, f·S) float32, see `enlarge`.

        chosen: what `choose` found. `sample`: computes what `sample_bilinear` does.
        """
        crops = crops.contiguous()  # whole planes of one colour are mixed faster than pixels of three
        masked = self.mask_input(crops)
        condition = self._condition(masked, shapes)
        features = self._body(unshuffle_channels_last(masked, self.config.stride), condition)
        flows, logits = self._heads(features, condition, self.guide(masked, shapes))
        return self._composite(crops, self._warp(flows, logits, references, sample) + self._residual(features))

    def guide(self, masked: Tensor, shapes: Tensor) -> Guide | None:
        """What is known before the network looks: here nothing."""
        return None

    def _condition(self, masked: Tensor, shapes: Tensor) -> Tensor:
        """(B, condition) of masked crops (B, 4, S, S) and shapes (B, frames, shape_width)."""
        inputs = torch.cat([self._scaled(shapes).flatten(1), self.pose(masked)], dim=1)
        return self.condition_mlp(inputs.to(self.input_conv.weight.dtype))

    def _scaled(self, shapes: Tensor) -> Tensor:
        """As large as is calibrated, in eval mode."""
        return shapes if self.training else shapes * self.amplitude

    def _composite(self, crops: Tensor, redrawn: Tensor) -> Tensor:
        """The crops (B, 3, S, S) with what was drawn in the mask's box (B, 3, h, w)."""
        if not self.training:
            redrawn = box_blur(redrawn).lerp(redrawn, 1 + self.sharpening)
        rows, columns = self.box
        inside, weight = crops[:, :, rows, columns], self.mask[:, :, rows, columns]
        result = crops.clone()
        result[:, :, rows, columns] = inside.lerp(redrawn.to(crops.dtype), weight)
        return result

    def pose(self, masked: Tensor) -> Tensor:
        """Masked crops (B, 4, S, S) → (B, POSE) pose of the head in standard deviations, at most 4, as it is seen."""
        return self._regressed(masked, self.pose_weight, self.pose_bias).clamp(-4, 4)

    @torch.no_grad()
    def regression(self, crops: Iterable[Tensor], values: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
        """Of values (n, V) on masked crops, which come in batches (b, 3, S, S) RGB 0..1: weight and bias.

        ridge: as a share of the summed variance of the masked, shrunk crops.
        """
        views = torch.cat([self._seen_coarsely(self.mask_input(part)) for part in crops]).double()
        middle, mean = views.mean(0), values.double().mean(0)
        x = views - middle
        gram = x.T @ x
        damping = ridge * gram.trace() / len(x) * torch.eye(len(gram), dtype=gram.dtype)
        found = torch.linalg.solve(gram + damping, x.T @ (values.double() - mean))
        return found, mean - middle @ found

    def fit_pose_inputs(self, crops: Iterable[Tensor], pose: Tensor) -> None:
        """Ridge regression of pose (n, POSE) on masked crops, as `regression` takes them."""
        weight, bias = self.regression(crops, pose, RIDGE)
        self.pose_weight.copy_(weight)
        self.pose_bias.copy_(bias)

    def _regressed(self, masked: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, V) float32 of masked crops (B, 4, S, S), by what `regression` has found."""
        return self._seen_coarsely(masked) @ weight + bias

    @staticmethod
    def _seen_coarsely(masked: Tensor) -> Tensor:
        """(B, 4, S, S) → (B, 3 · POSE_INPUT_PX²) float32."""
        with torch.autocast(masked.device.type, enabled=False):
            return F.avg_pool2d(masked[:, :3].float(), masked.shape[-1] // POSE_INPUT_PX).flatten(1)

    def render_in(self, dtype: torch.dtype) -> None:
        """Convert the weights for rendering; pixels are sampled and mixed in float32 all the same."""
        for part in self.children():
            part.to(dtype)

    def _body(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, 4·stride², s, s) → (B, widths[0], h, w): the cells under the mask's box, and `_HALO` around them."""
        x = self.input_conv(x.to(self.input_conv.weight.dtype))
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        x = self.middle(skips.pop(), condition)
        for block in self.up:
            skip = skips.pop()  # of an odd size where halving left a row and a column out
            x = torch.cat([F.interpolate(x, size=skip.shape[2:], mode="nearest"), skip], dim=1)
            x = block(x if skips else self._near(x), condition)
        return x if len(self.up) else self._near(x)

    def _near(self, x: Tensor) -> Tensor:
        """The part of a low-resolution map (B, C, s, s) that the heads see."""
        rows, columns = self.near
        return x[:, :, rows, columns]

    def _in_box(self, x: Tensor) -> Tensor:
        """The part of what `_body` leaves, or of a map like it, that lies under the mask's box."""
        rows, columns = (
            slice(part.start // self.config.stride - near.start, part.stop // self.config.stride - near.start)
            for part, near in zip(self.box, self.near, strict=True)
        )
        return x[:, :, rows, columns]

    def enlarge(self, references: Tensor) -> Tensor:
        """(K, 3, S, S) uint8 → (K, 3, f·S, f·S) float32 0..1; sampled bilinearly, they keep their detail."""
        plain = references.float() / 255.0
        return F.interpolate(plain, scale_factor=self.config.enlarged, mode="bicubic", align_corners=False).clamp_(0, 1)

    def _heads(self, features: Tensor, condition: Tensor, guide: Guide | None) -> tuple[Tensor, Tensor]:
        """Flows (B, K, 2, h, w), 1 as far as FLOW_REACH, and logits (B, K, h, w), float32, per cell of the box."""
        count = self.config.per_frame
        flows, logits = self._in_box(self.flow_head(features)).float().split([2 * count, count], dim=1)
        of_all = self.blend_head(condition).float()
        if guide is None:
            return flows.unflatten(1, (count, 2)), logits + of_all[:, :, None, None]
        return flows.unflatten(1, (count, 2)) + guide.flows, logits + of_all[:, :, None, None] + guide.logits

    def _warp(self, flows: Tensor, logits: Tensor, references: Tensor, sample: Sample) -> Tensor:
        """The mix of warped references inside the mask's box, (B, 3, h, w)."""
        height, width = self.grid.shape[:2]
        blend = logits.softmax(dim=1)
        # from here on (K, B, …): one image per reference, the batch below it; x and y of a place side by side
        flows = flows.permute(1, 0, 3, 4, 2)
        with torch.autocast(flows.device.type, enabled=False):  # half a px would be lost
            flows = (self.upsample_rows @ (flows.flatten(3) @ self.upsample_pairs)).unflatten(3, (width, 2))
            blend = self.upsample_rows @ (blend.transpose(0, 1) @ self.upsample_columns)
        grids = torch.add(self.grid, flows, alpha=2 * FLOW_REACH).flatten(1, 2)
        warped = sample(references, grids)
        return (warped.unflatten(2, (-1, height)) * blend[:, None]).sum(0).transpose(0, 1)

    def _residual(self, features: Tensor) -> Tensor:
        """(B, 3, h, w) inside the mask's box."""
        shuffle = F.pixel_shuffle if self.config.residual == 1 else shuffle_without_repetition
        return shuffle(self.residual_head(self._in_box(features)), self.config.stride).float() * RESIDUAL_REACH


def _widened(part: slice, stride: int, cells: int) -> slice:
    """Rows or columns of a crop, in px, as those of a map of so many cells, and the halo around them."""
    return slice(max(part.start // stride - _HALO, 0), min(part.stop // stride + _HALO, cells))
