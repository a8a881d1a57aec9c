"""A warp network whose flows begin where the mesh of the face and the place of the body say that they lead.

The description of a picture, D numbers: the mouth shape, the pose of the head, the products of its two angles, and the
movement of the body (`body_motion`). The places of landmarks are linear in it (fitted to the clip), and the flow from
one picture to another is linear in the movement of landmarks (`mesh_warp`), and below the jaw in that of the body; so
the flow that a reference needs is one matrix times the difference of two descriptions. The network adds what it lacks,
and the matrix, and how much nearness counts at each place, are learnt on from there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..face.body_motion import NUMBERS
from ..face.crop import CropSpec
from .warping import FLOW_REACH, POSE, POSE_INPUT_PX, Guide, WarpConfig, WarpNet

ANGLES = 2  # components of the pose whose products describe a picture, too
UNBOUNDED = 100.0  # standard deviations: before anything is fitted
FLOW_STEP, NEARNESS_STEP = 0.02, 10.0  # of what is learnt by steps as small as the network's weights are; chosen
TEMPERATURE = 3.0  # difference of distances by which one reference weighs e times another before training; chosen


def described_by(config: WarpConfig) -> int:
    """How many numbers describe a picture."""
    return config.shape_width + POSE + ANGLES * (ANGLES + 1) // 2 + (NUMBERS if config.knows_body else 0)


def describe(shapes: Tensor, pose: Tensor, body: Tensor | None = None) -> Tensor:
    """Shapes (…, shape_width) and pose (…, POSE), both in standard deviations, movements of the body (…, NUMBERS) in
    crop widths → (…, D)."""
    products = [pose[..., i] * pose[..., k] for i in range(ANGLES) for k in range(i, ANGLES)]
    return torch.cat([shapes, pose, torch.stack(products, dim=-1), *([] if body is None else [body])], dim=-1)


class GuidedWarpNet(WarpNet):
    """It knows where the landmarks of its references are, and where those of a picture have to be."""

    reference_description: Tensor
    shown: Tensor
    mesh_flow: Tensor
    metric: Tensor
    body_weight: Tensor
    body_bias: Tensor

    def __init__(self, config: WarpConfig, spec: CropSpec) -> None:
        super().__init__(config, spec)
        described = described_by(config)
        self.register_buffer("reference_description", torch.zeros(config.references, described))
        self.register_buffer("shown", torch.tensor([[-UNBOUNDED] * described, [UNBOUNDED] * described]))
        cells = [(part.stop - part.start) // config.stride for part in self.box]
        self.register_buffer("mesh_flow", torch.zeros(described, 2, *cells))
        self.register_buffer("metric", torch.zeros(described, described))
        if config.knows_body:
            self.register_buffer("body_weight", torch.zeros(3 * POSE_INPUT_PX**2, NUMBERS))
            self.register_buffer("body_bias", torch.zeros(NUMBERS))
        if config.learns_guide:
            self.learnt_flow = nn.Parameter(torch.zeros(described, 2, *cells))  # to be added, in steps of FLOW_STEP
        if config.learns_guide and not config.retrieves:
            self.learnt_nearness = nn.Parameter(torch.zeros(*cells))  # logarithm of a factor, in steps of NEARNESS_STEP

    def description(self, masked: Tensor, shapes: Tensor) -> Tensor:
        """(B, D) float32 of masked crops (B, 4, S, S) and shapes (B, frames, shape_width), within what was `shown`.

        Beyond that nothing is known of the landmarks, and products run away.
        """
        own = self._scaled(self._shape(shapes.float()))
        body = self._regressed(masked, self.body_weight, self.body_bias) if self.config.knows_body else None
        whole = describe(own, self.pose(masked), body)
        return torch.maximum(torch.minimum(whole, self.shown[1]), self.shown[0])

    def _shape(self, shapes: Tensor) -> Tensor:
        """(B, shape_width) of shapes (B, frames, shape_width): landmarks tremble, which a mean takes away."""
        return shapes.mean(dim=1) if self.config.learns_guide else shapes[:, shapes.shape[1] // 2]

    def guide(self, masked: Tensor, shapes: Tensor) -> Guide:
        """What the mesh says, of all references."""
        with torch.autocast(masked.device.type, enabled=False):
            moved = self.reference_description[None] - self.description(masked, shapes)[:, None]
            logits = (-self._distances(moved) / TEMPERATURE)[:, :, None, None]
            if self.config.learns_guide:
                logits = logits * (NEARNESS_STEP * self.learnt_nearness).exp()
            return Guide(self._flows(moved) / FLOW_REACH, logits)

    def _flows(self, moved: Tensor) -> Tensor:
        """Differences of descriptions (B, K, D) → flows (B, K, 2, h, w) per cell of the box, in crop widths."""
        flow = self.mesh_flow + FLOW_STEP * self.learnt_flow if self.config.learns_guide else self.mesh_flow
        return torch.einsum("bkd,dxhw->bkxhw", moved, flow)

    def _distances(self, moved: Tensor) -> Tensor:
        """(B, K) float32 squared distances of differences (B, K, D): summed over landmarks, the lips weighed more.

        1 is the typical one of a picture of the clip to the nearest that is no neighbour.
        """
        return (moved @ self.metric).square().sum(-1)
