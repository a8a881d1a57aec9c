"""Fits a person's head on the frozen motion prior.

One part of it is a ridge regression of the person's mouth shapes on what the prior sees: it knows the person, and
follows this voice best. The other is what the prior says of anybody, at the size of this person's mouth: it follows
other voices best. The sums of the regression are kept for every tenth of the frames apart, so that heads which leave
one out cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..face.mouth import lip_gap
from ..models.generator import Generator
from ..models.motion import MotionNet
from ..models.tensors import interpolate_rows

RIDGE = 4.0  # penalty on a weight, the inputs in standard deviations
AUGMENTED_WEIGHT = 0.25  # of a frame in augmented speech, of which there are four; chosen
SILENT_WEIGHT = 0.1  # of a row of silence, of which there are thousands; chosen
# Measured on the news presenter, driven by the own voice and by five others (docs/motion_prior.md): the more of
# both, the better others are followed, and the worse that one.
SHARE = 0.7  # of the shape that is the head's; the rest is the members'
GENERAL = 0.45  # of the head that is what the prior says of anybody
_BLOCK_ROWS, _MARGIN_ROWS = 3000, 64  # of features at a time; the prior sees 30 rows to either side


class PriorHead:
    """The regression; add frames, then `fit`."""

    def __init__(self, motion: MotionNet, tenths: int, general: tuple[Tensor, Tensor]) -> None:
        """tenths: how many parts the frames are cut into; general: see `general_head`."""
        self._general = general
        width, outputs = motion.prior_head.in_features + 1, motion.prior_head.out_features
        self._gram = torch.zeros(tenths, width, width, dtype=torch.float64)
        self._moment = torch.zeros(tenths, width, outputs, dtype=torch.float64)

    def add(self, tenth: int, hidden: Tensor, shapes: Tensor, weight: float = 1.0) -> None:
        """Frames of one of the tenths: hidden (n, W) of the prior, and shapes (n, shape_width) that belong to them."""
        x = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1).double()
        self._gram[tenth] += weight * (x.T @ x)
        self._moment[tenth] += weight * (x.T @ shapes.double())

    def fit(self, left_out: int | None = None) -> tuple[Tensor, Tensor]:
        """Weight (shape_width, W) and bias (shape_width,) float32, by all tenths but that one."""
        known = [k for k in range(len(self._gram)) if k != left_out]
        gram, moment = self._gram[known].sum(0), self._moment[known].sum(0)
        count = gram[-1, -1].clamp_min(1)
        mean = gram[-1, :-1] / count
        variance = (gram.diagonal()[:-1] / count - mean**2).clamp_min(1e-6)
        centred = gram[:-1, :-1] - count * torch.outer(mean, mean)
        target = moment[:-1] - torch.outer(mean, moment[-1])
        weight = torch.linalg.solve(centred + RIDGE * count * torch.diag(variance), target)
        bias = moment[-1] / count - mean @ weight
        own = weight.T.float(), bias.float()
        return torch.lerp(own[0], self._general[0], GENERAL), torch.lerp(own[1], self._general[1], GENERAL)


@torch.no_grad()
def general_head(generator: Generator, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (shape_width, W) and bias (shape_width,): what the prior says of anybody, at the size of this mouth.

    shapes: (n, shape_width) of the frames to train on; the lips open as far as theirs.
    """
    prior = generator.motion.prior
    if prior is None:
        raise ValueError("there is no motion prior in this generator")
    points = (shapes * generator.shape_std.to(shapes)) @ generator.shape_basis.to(shapes)
    opening = torch.from_numpy(lip_gap(points.unflatten(1, (-1, 2)).numpy())).std()
    to_shapes = opening * generator.shape_basis.to(shapes) / generator.shape_std.to(shapes)[:, None]
    weight, bias = prior.shape_head()
    return to_shapes @ weight, to_shapes @ bias


@torch.no_grad()
def hidden_rows(motion: MotionNet, features: Tensor) -> Tensor:
    """(T, W) float32 what the prior sees of features (T, D), normalised by `MotionNet.normalise`. Blockwise."""
    parts = []
    for start in range(0, len(features), _BLOCK_ROWS):
        low, high = max(0, start - _MARGIN_ROWS), start + _BLOCK_ROWS + _MARGIN_ROWS
        block = features[low:high] * motion.feature_std + motion.feature_mean
        parts.append(motion.prior_hidden(block[None])[0, start - low :][:_BLOCK_ROWS])
    return torch.cat(parts)


def hidden_at(hidden: Tensor, rows: Tensor) -> Tensor:
    """(n, W) at fractional rows (n,) of hidden (T, W)."""
    return interpolate_rows(hidden[None], rows[None])[0]
