"""Neck and collar in crops that hold the head still: how far they have moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from udh_core.face.body_motion import Body, basis, below

SIZE = 160


def pictures(movements: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(n, SIZE, SIZE, 3) uint8: a texture (SIZE, SIZE, 3), moved."""
    middles = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    places = np.stack(np.meshgrid(middles, middles), -1)
    moved = []
    for movement in movements:
        growth, turn = 1 + movement[2], movement[3]
        similarity = np.array([[growth, -turn], [turn, growth]])
        x, y = np.moveaxis((places - 0.5 - movement[:2]) @ np.linalg.inv(similarity).T * SIZE + SIZE / 2 - 0.5, -1, 0)
        arguments = (x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
        moved.append(cv2.remap(texture, *arguments, borderMode=cv2.BORDER_REFLECT))
    return np.stack(moved)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    return np.rint(cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def lower_half() -> np.ndarray:
    return np.repeat(np.arange(SIZE)[:, None] > SIZE // 2, SIZE, axis=1)


def test_shift_growth_and_turn_are_found(texture: np.ndarray, lower_half: np.ndarray) -> None:
    """Within a quarter of a px, whatever the face above does."""
    random = np.random.default_rng(1)
    true = random.normal(size=(40, 4)) * [0.02, 0.02, 0.02, 0.04]
    crops = pictures(true, texture)
    crops[:, : SIZE // 2] = random.integers(0, 255, (40, SIZE // 2, SIZE, 3))
    found = Body.of(crops, lower_half).movements(crops)
    missed = (found - found.mean(0)) - (true - true.mean(0))
    assert np.abs(missed[:, :2]).mean() * SIZE < 0.25 and np.abs(missed[:, 2:]).mean() < 0.004


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_what_has_no_texture_does_not_move(lower_half: np.ndarray, grey: int) -> None:
    crops = np.full((5, SIZE, SIZE, 3), grey, np.uint8)
    assert not Body.of(crops, lower_half).movements(crops).any()


def test_where_nothing_fits_nothing_moves(texture: np.ndarray, lower_half: np.ndarray) -> None:
    crops = pictures(np.zeros((9, 4)), texture)
    strange = np.random.default_rng(2).integers(0, 255, (4, SIZE, SIZE, 3), np.uint8)
    found = Body.of(crops, lower_half).movements(strange)
    assert np.isfinite(found).all() and np.abs(found).max() <= 0.25


def test_no_area_is_no_movement(texture: np.ndarray) -> None:
    """Where a chin reaches the lower border of all crops."""
    crops = pictures(np.zeros((3, 4)), texture)
    assert not Body.of(crops, np.zeros((SIZE, SIZE), bool)).movements(crops).any()


def test_a_turn_moves_what_is_right_of_the_middle_down() -> None:
    moved = basis(np.array([[0.75, 0.5], [0.5, 0.75]])) @ np.array([0, 0, 0, 0.1])
    assert moved == pytest.approx(np.array([[0, 0.025], [-0.025, 0]]))


def test_what_is_below_a_jaw_is_below_nearly_all_of_its_places() -> None:
    jaw = np.array([[[0.2, 0.5], [0.5, 0.7], [0.8, 0.5]]]).repeat(200, axis=0)
    jaw[::2, 1, 1] = 0.8  # opened
    depth = below(jaw, SIZE, 0.0)
    assert depth[int(0.79 * SIZE), SIZE // 2] < 0 < depth[int(0.82 * SIZE), SIZE // 2]
    assert depth[int(0.45 * SIZE), 2] < 0 < depth[int(0.55 * SIZE), 2]  # it goes on level beside the face
