"""Schedules, averaged weights, updates and what a run saves."""

from __future__ import annotations

import pytest
import torch

from udh_core.errors import DivergedError, OptionError, UdhError
from udh_core.training.loop import Averaged, Schedule, check_finite, update


def test_averaged_weights_swap_and_come_back() -> None:
    network = torch.nn.Linear(2, 1)
    average, first = Averaged(network), network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1)
    average.update(network)
    average.swap(network)
    assert (network.weight > first).all() and (network.weight < first + 1).all()
    average.swap(network)
    torch.testing.assert_close(network.weight.detach(), first + 1)


def test_schedule_ends_by_steps_or_by_the_clock() -> None:
    by_steps = Schedule(200, None)
    assert [by_steps.done(s) for s in (0, 100, 200, 300)] == [0, 0.5, 1, 1]
    assert by_steps.learning_rate(0, 1.0) < by_steps.learning_rate(50, 1.0) > by_steps.learning_rate(199, 1.0) > 0.01
    assert Schedule(200, 1.0, spent_s=61).done(0) == 1


@pytest.mark.parametrize(("steps", "minutes"), [(0, None), (10, 0.0), (10, -1.0)])
def test_schedule_without_any_time(steps: int, minutes: float | None) -> None:
    with pytest.raises(OptionError, match="at least 1 step"):
        Schedule(steps, minutes)


def test_divergence_is_an_error() -> None:
    check_finite(torch.tensor(3.0), "warp", 1)
    with pytest.raises(UdhError, match="warp training diverged at step 12"):
        check_finite(torch.tensor(float("nan")), "warp", 12)


@pytest.mark.parametrize(("loss", "what"), [(float("inf"), "loss"), (0.0, "gradient")])
def test_an_update_that_is_not_finite_changes_no_weight(loss: float, what: str) -> None:
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    before = network.weight.detach().clone()
    zero = network.weight.sum() - network.weight.sum().detach()
    value = zero.pow(2).sqrt() + loss  # the root has no finite slope at 0
    with pytest.raises(DivergedError, match=f"warp training diverged at step 7, its {what} is not finite"):
        update(network, optimiser, {"loss": value}, ("warp", 7))
    assert torch.equal(network.weight, before)


def test_an_update_gives_the_values_of_all_losses() -> None:
    network = torch.nn.Linear(2, 1, bias=False)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    before = network.weight.detach().clone()
    part = network.weight.sum()
    found = update(network, optimiser, {"loss": 2 * part, "part": part}, ("warp", 0))
    assert found == {"loss": pytest.approx(2 * float(before.sum())), "part": pytest.approx(float(before.sum()))}
    torch.testing.assert_close(network.weight.detach(), before - 1.0)
