"""A dense flow from the movement of a few points: a thin-plate spline (Bookstein 1989), as one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor


def thin_plate_basis(places: Tensor, targets: Tensor, stiffness: float) -> Tensor:
    """(n, P) float32: times displacements (P, 2) known at `places` (P, 2) it is the displacement at `targets` (n, 2).

    Movements of the whole plane (shift, turn, scale, shear) come out as they are. stiffness: 0 interpolates; the more,
    the less the surface bends for a single point, in the places' unit squared; 0.01 of the square of a crop's width
    evens out landmarks that jitter. The places must not all lie on one line (torch's LinAlgError).
    """
    places, targets = places.double(), targets.double()
    count = len(places)
    system = places.new_zeros(count + 3, count + 3)
    system[:count, :count] = _bending(places, places) + stiffness * torch.eye(count, dtype=places.dtype)
    system[:count, count:] = _plane(places)
    system[count:, :count] = system[:count, count:].T
    values = torch.cat([_bending(targets, places), _plane(targets)], dim=1)
    return torch.linalg.solve(system, values.T)[:count].T.float()  # the system is symmetric


def _bending(targets: Tensor, places: Tensor) -> Tensor:
    """(n, P) r² · log r of all distances, 0 where they are 0."""
    square = ((targets[:, None] - places[None]) ** 2).sum(-1)
    return 0.5 * torch.xlogy(square, square)


def _plane(places: Tensor) -> Tensor:
    """(n, 3): 1, x, y."""
    return torch.cat([torch.ones_like(places[:, :1]), places], dim=1)
