"""The choice of reference crops: near, and steady in time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from udh_core.inference.retrieval import choose, steadiest


def cost_of(path: tuple[int, ...] | np.ndarray, costs: np.ndarray, change: float) -> float:
    return float(costs[np.arange(len(path)), list(path)].sum() + change * (np.diff(path) != 0).sum())


@pytest.mark.parametrize("change", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_choice_costs_less(change: float, seed: int) -> None:
    """Against all 3⁶ ways."""
    costs = np.random.default_rng(seed).random((6, 3)).astype(np.float32)
    least = min(cost_of(path, costs, change) for path in itertools.product(range(3), repeat=6))
    assert cost_of(steadiest(costs, change), costs, change) == pytest.approx(least, rel=1e-5)


def test_a_moment_is_no_reason_to_change() -> None:
    costs = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [0, 1], [1, 0], [1, 0]], np.float32)
    assert steadiest(costs, 0.6).tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert steadiest(costs, 2.1).tolist() == [0] * 7


def test_what_was_taken_before_is_kept() -> None:
    costs = np.array([[0.3, 0, 1], [0.3, 0, 1]], np.float32)
    assert steadiest(costs, 0.7, before=0).tolist() == [0, 0]
    assert steadiest(costs, 0.5, before=0).tolist() == [1, 1]
    assert choose(costs, [0.7, 0.7], before=np.array([0, 1])).tolist() == [[0, 1], [0, 1]]


def test_none_is_taken_twice_for_a_frame() -> None:
    costs = np.random.default_rng(0).random((50, 5)).astype(np.float32)
    chosen = choose(costs, [0.2] * 4)
    assert all(len(set(row)) == 4 for row in chosen.tolist())


def test_some_columns_are_steadier_than_others() -> None:
    costs = np.random.default_rng(0).random((50, 5)).astype(np.float32)
    first, others = (np.diff(choose(costs, changes), axis=0) != 0 for changes in ([0.2, 0.2], [0.2, 2.0]))
    assert first[:, 0].tolist() == others[:, 0].tolist()
    assert others[:, 1].sum() < first[:, 1].sum()
