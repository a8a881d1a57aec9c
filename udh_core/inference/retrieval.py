"""Which of a person's real crops each frame is drawn from: the nearest ones, steadily in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def steadiest(costs: np.ndarray, change: float, before: int | None = None) -> np.ndarray:
    """(T,) int64 candidates with the least sum of costs (T, M), where taking another than before costs `change`.

    By dynamic programming (Viterbi). before: what was taken for the frame before the first.
    """
    total, came_from = costs[0].astype(np.float64), np.zeros(costs.shape, np.int64)
    own = np.arange(costs.shape[1])
    if before is not None:
        total += change * (own != before)
    for row in range(1, len(costs)):
        best = int(total.argmin())
        stays = total <= total[best] + change
        came_from[row] = np.where(stays, own, best)
        total = np.where(stays, total, total[best] + change) + costs[row]
    return _path_back(int(total.argmin()), came_from)


def choose(costs: np.ndarray, changes: Sequence[float], before: np.ndarray | None = None) -> np.ndarray:
    """(T, n) int64 different candidates per frame, the best first, each column as steady as `steadiest` has it.

    changes: what taking another candidate costs, in each of the n columns. before: (n,) what was taken for the frame
    before the first.
    """
    left, columns = costs.copy(), []
    for column, change in enumerate(changes):
        chosen = steadiest(left, change, None if before is None else int(before[column]))
        left[np.arange(len(left)), chosen] = np.inf
        columns.append(chosen)
    return np.stack(columns, axis=1)


def _path_back(last: int, came_from: np.ndarray) -> np.ndarray:
    path = np.empty(len(came_from), np.int64)
    for row in range(len(came_from) - 1, -1, -1):
        path[row] = last
        last = int(came_from[row, last])
    return path
