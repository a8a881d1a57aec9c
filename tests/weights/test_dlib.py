"""dlib's file of the face recognition network: the right tensors in the right order, or no such file."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from udh_core.errors import FormatError
from udh_core.weights import registry
from udh_core.weights.dlib import EMBEDDING, WIDTHS, face_recognition_tensors


def packed(value: int) -> bytes:
    """As dlib writes an integer."""
    raw = abs(value).to_bytes(8, "little").rstrip(b"\0") or b"\0"
    return bytes([len(raw) | (0x80 if value < 0 else 0)]) + raw


def tensor(values: np.ndarray, version: int = 2) -> bytes:
    sizes = (values.size, 1, 1, 1)
    return packed(version) + b"".join(map(packed, sizes)) + values.astype("<f4").tobytes()


def stored(version: int = 2) -> tuple[bytes, list[np.ndarray]]:
    """A file as dlib writes it, and its kernels, with biases of 1, scales of 2 and shifts of 3."""
    parts, kernels, before = [b"\x01\x02loss"], [], 3
    for n, width in enumerate(WIDTHS):
        side = 3 if n else 7
        kernel = np.full((width, before, side, side), float(n), np.float32)
        kernel[-1, -1, -1] = np.arange(side)
        kernels.append(kernel)
        values = np.concatenate([kernel.ravel(), np.ones(width)])
        parts += [b"\x01\x05con_4", tensor(values, version), b"\x01\x01\x01\x01"]
        parts += [b"\x01\x07affine_", tensor(np.repeat([2.0, 3.0], width)), b"\x01\x01"]
        before = width
    parts += [b"\x01\x04fc_2", packed(EMBEDDING), packed(256), tensor(np.arange(256 * EMBEDDING))]
    return b"".join(parts), kernels


def test_scale_and_shift_become_part_of_the_convolution() -> None:
    raw, kernels = stored()
    tensors = face_recognition_tensors(raw)
    assert len(tensors) == 2 * len(WIDTHS) + 1
    for n, kernel in enumerate(kernels):
        np.testing.assert_array_equal(tensors[f"conv{n}.weight"], 2 * kernel)
        np.testing.assert_array_equal(tensors[f"conv{n}.bias"], 2 * 1 + 3)
    assert tensors["embedding.weight"].shape == (EMBEDDING, 256)
    assert tensors["embedding.weight"][1, 2] == 2 * EMBEDDING + 1  # output 1 of input 2


@pytest.mark.parametrize("damage", ["empty", "short", "version"])
def test_another_file_is_refused(damage: str) -> None:
    raw = {"empty": b"", "short": stored()[0][:-100], "version": stored(1)[0]}[damage]
    with pytest.raises(FormatError, match="not dlib's face recognition network"):
        face_recognition_tensors(raw)


def test_the_installed_network_has_finite_weights_of_the_published_file() -> None:
    weight = registry.WEIGHTS["face_recognition.safetensors"]
    raw = registry.weight_path(weight.name).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == weight.sha256
    tensors = load_safetensors(raw)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert [tensors[f"conv{n}.bias"].shape for n in range(len(WIDTHS))] == [(width,) for width in WIDTHS]
