"""Fits two heads on the frozen motion prior.

The person's is a ridge regression of the mouth shapes on what the prior sees: it follows this voice best. The general
one is what the prior says of anybody, at the size of this person's mouth: it follows other voices best. The sums of the
regression are kept for every tenth of the frames apart, so that heads which leave one out cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..face.mouth import lip_gap
from ..inference.driving import mouth_amplitude
from ..models.generator import Generator
from ..models.motion import MotionNet
from ..models.tensors import interpolate_rows

RIDGE = 6.0  # penalty on a weight, the inputs in standard deviations
AUGMENTED_WEIGHT = 0.25  # of a frame in augmented speech, of which there are four; chosen
SILENT_WEIGHT = 0.1  # of a row of silence, of which there are thousands; chosen
SHARE = 0.7  # of the shape that is the person's head's; the rest is the members'; measured (docs/motion_prior.md)
_BLOCK_ROWS, _MARGIN_ROWS = 3000, 64  # of features at a time; the prior sees 30 rows to either side


class PriorHead:
    """The regression; add frames, then `fit`."""

    def __init__(self, motion: MotionNet, tenths: int) -> None:
        """tenths: how many parts the frames are cut into."""
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
        return weight.T.float(), bias.float()


@torch.no_grad()
def general_head(generator: Generator, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (shape_width, W) and bias (shape_width,): what the prior says of anybody, at the size of this mouth.

    shapes: (n, shape_width) of the frames to train on; the lips open as far as theirs.
    """
    prior = generator.motion.prior
    if prior is None:
        raise ValueError("there is no motion prior in this generator")
    opening = opening_spread(generator, shapes)
    to_shapes = opening * generator.shape_basis.to(shapes) / generator.shape_std.to(shapes)[:, None]
    weight, bias = prior.shape_head()
    return to_shapes @ weight, to_shapes @ bias


def general_amplitude(generator: Generator, general: Tensor, own: Tensor) -> float:
    """The `mouth_amplitude` at which shapes of the general head open the lips as far as the person's own do.

    general and own: (n, shape_width) that either predicts of the same frames. In each the lips have another share of
    what the amplitude measures.
    """
    per_opening = mouth_amplitude(generator, general) / max(opening_spread(generator, general), 1e-6)
    own_per_opening = mouth_amplitude(generator, own) / max(opening_spread(generator, own), 1e-6)
    return float(generator.mouth_amplitude) * per_opening / max(own_per_opening, 1e-6)


def opening_spread(generator: Generator, shapes: Tensor) -> float:
    """Standard deviation of how far the lips are open in shapes (n, shape_width), face units."""
    points = (shapes * generator.shape_std.to(shapes)) @ generator.shape_basis.to(shapes)
    return float(lip_gap(points.unflatten(1, (-1, 2)).numpy()).std(ddof=1))


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
