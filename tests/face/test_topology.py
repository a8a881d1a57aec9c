"""Landmark indices have names, and the names live in one file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from udh_core.face import topology
from udh_core.face.crop import eye_distance

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("udh_core", "nodes", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
OF_LANDMARKS = ("landmark", "points", "mesh", "face")  # words in the names of arrays that hold landmarks


def numbers_in(node: ast.AST) -> set[int]:
    """Whole numbers that are written out, other than those that stand for coordinates and axes."""
    constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return {number for number in constants if type(number) is int and number > 2}


def is_of_landmarks(array: ast.AST) -> bool:
    words = [part.id for part in ast.walk(array) if isinstance(part, ast.Name)]
    words += [part.attr for part in ast.walk(array) if isinstance(part, ast.Attribute)]
    return any(word in name.lower() for name in words for word in OF_LANDMARKS)


def named_indices() -> set[int]:
    """Every index that `topology` names."""
    values = [value if isinstance(value, tuple | dict) else (value,) for value in vars(topology).values()]
    return {number for value in values for number in value if type(number) is int}


def written_out(source: str) -> Iterator[int]:
    """Lines at which landmarks are indexed by a number, or a row of numbers consists of indices of a topology."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and is_of_landmarks(node.value):
            index = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if any(numbers_in(part) for part in index if not isinstance(part, ast.Slice)):
                yield node.lineno
        if (
            isinstance(node, ast.Tuple | ast.List | ast.Set)
            and len(node.elts) >= 3
            and max(numbers_in(node), default=0) > 12
        ):
            numbers = [part.value for part in node.elts if isinstance(part, ast.Constant)]
            if len(numbers) == len(node.elts) and set(numbers) <= named_indices() and len(set(numbers)) == len(numbers):
                yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_landmark_index_is_written_outside_topology(path: Path) -> None:
    if path.name != "topology.py":
        assert list(written_out(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "track.landmarks[frames][:, (13, 14, 61, 291, 0, 17)]",
        "landmarks[:, 13]",
        "points[..., 33, :]",
        "LEFT, RIGHT, TOP = 234, 454, 9",
    ],
)
def test_an_index_that_is_written_out_is_found(line: str) -> None:
    assert list(written_out(line))


def test_every_index_is_one_of_the_mesh() -> None:
    groups = (topology.STABLE_POINTS, topology.LIPS, topology.JAW, topology.NOSE, topology.MOUTH_EXTENT)
    for group in (*groups, tuple(topology.CANONICAL_PLACES)):
        assert len(set(group)) == len(group)
        assert min(group) >= 0 and max(group) < topology.LANDMARK_COUNT
    assert set(topology.MOUTH_EXTENT) <= set(topology.LIPS)


def test_eye_distance_of_one_face_and_of_many() -> None:
    landmarks = np.zeros((2, 3, topology.LANDMARK_COUNT, 2), np.float32)
    landmarks[1, 2, topology.LEFT_EYE_OUTER] = (3, 4)
    assert eye_distance(landmarks).tolist() == [[0, 0, 0], [0, 0, 5]]
    assert eye_distance(landmarks[1, 2]) == 5
