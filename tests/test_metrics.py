"""Figures of merit against values worked out by hand or by another way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from udh_core.metrics import auc, correlation, offset_accuracy, psnr, sharpness

RNG = np.random.default_rng(0)
EVERYWHERE = np.ones((32, 32), bool)


def test_correlation() -> None:
    a = RNG.normal(size=200)
    assert correlation(a, 3 * a + 7) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert abs(correlation(a, RNG.normal(size=200))) < 0.25


def test_correlation_with_a_constant_is_nothing() -> None:
    assert correlation(np.arange(5.0), np.full(5, 2.0)) == 0
    assert correlation(np.zeros(5), np.arange(5.0)) == 0


def test_auc_by_counting_pairs() -> None:
    positive, negative = RNG.integers(0, 8, 40).astype(float), RNG.integers(0, 6, 30).astype(float)  # many ties
    above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert auc(positive, negative) == pytest.approx(above)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1, 1], 0.5), ([1, 3], [2], 0.5)],
)
def test_auc_of_few(positive: list[float], negative: list[float], expected: float) -> None:
    assert auc(np.array(positive, float), np.array(negative, float)) == expected


def test_offset_accuracy() -> None:
    offsets = np.arange(-3, 4)
    distances = np.ones((4, 7))
    for window, offset in enumerate((0, 1, -1, 3)):
        distances[window, offsets == offset] = 0.2
    assert offset_accuracy(distances, offsets, 1, 0) == 0.25
    assert offset_accuracy(distances, offsets, 1, 1) == 0.75
    assert offset_accuracy(distances, offsets, 1, 3) == 1


def test_offset_accuracy_of_averaged_windows() -> None:
    offsets = np.arange(-2, 3)
    distances = RNG.uniform(0.9, 1.0, (20, 5))
    distances[::2, 2] = 0.0  # every other window is right, and clearly so
    distances[1::2, 0] = 0.5
    assert offset_accuracy(distances, offsets, 1, 0) == 0.5
    assert offset_accuracy(distances, offsets, 10, 0) == 1
    assert offset_accuracy(distances[:9], offsets, 10, 0) == 0  # not one whole group


def test_psnr() -> None:
    image = RNG.integers(10, 240, (32, 32, 3), np.uint8)
    assert psnr(image, image + 5, EVERYWHERE) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(image, image, EVERYWHERE) > 90
    assert psnr(image, image - 5, EVERYWHERE) == psnr(image - 5, image, EVERYWHERE)  # bytes do not wrap


def test_psnr_looks_only_under_the_weight() -> None:
    image = RNG.integers(10, 240, (32, 32, 3), np.uint8)
    spoilt = image + 2
    spoilt[:16] = 255 - image[:16]
    lower = np.arange(32)[:, None] * np.ones(32) >= 16
    assert psnr(spoilt, image, lower) == pytest.approx(20 * np.log10(255 / 2))


def test_blur_lowers_sharpness() -> None:
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    assert sharpness(cv2.GaussianBlur(image, (0, 0), 1.5), EVERYWHERE) < 0.2 * sharpness(image, EVERYWHERE)
    assert sharpness(np.full((32, 32, 3), 90, np.uint8), EVERYWHERE) == 0
