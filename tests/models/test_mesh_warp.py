"""Flow from the movement of points: known movements come out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from udh_core.models.mesh_warp import thin_plate_basis

STIFF = 0.01


@pytest.fixture(scope="module")
def places() -> Tensor:
    return torch.rand(40, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def targets() -> Tensor:
    return torch.rand(300, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stiffness", [0.0, STIFF])
def test_a_movement_of_the_whole_plane_is_that_movement_everywhere(
    places: Tensor, targets: Tensor, stiffness: float
) -> None:
    turn, shift = torch.tensor([[0.98, -0.1], [0.12, 1.05]]), torch.tensor([0.03, -0.2])
    flow = thin_plate_basis(places, targets, stiffness) @ (places @ turn + shift - places)
    torch.testing.assert_close(flow, targets @ turn + shift - targets, atol=1e-4, rtol=1e-3)


def test_points_go_where_they_go(places: Tensor) -> None:
    moved = 0.05 * torch.randn(40, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(thin_plate_basis(places, places, 0.0) @ moved, moved, atol=1e-4, rtol=1e-3)
    stiff = thin_plate_basis(places, places, STIFF) @ moved
    assert float(stiff.square().mean()) < 0.8 * float(moved.square().mean())


def test_one_point_moves_what_is_near_it(places: Tensor, targets: Tensor) -> None:
    basis = thin_plate_basis(places, torch.cat([places[:1], targets]), 0.0)
    assert basis[0, 0] == pytest.approx(1, abs=1e-4)
    assert float(basis[1:, 0].abs().max()) < 1.5
    torch.testing.assert_close(basis.sum(1), torch.ones(301), atol=1e-4, rtol=1e-4)


def test_points_on_a_line_are_refused(targets: Tensor) -> None:
    line = torch.stack([torch.linspace(0, 1, 5), torch.zeros(5)], dim=1)
    with pytest.raises(torch.linalg.LinAlgError):
        thin_plate_basis(line, targets, 0.0)
