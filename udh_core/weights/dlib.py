"""dlib's face recognition network, read from the file that dlib's own serialisation wrote; nothing of it is run.

What is read are the marks of the layers and the tensor behind each; the order of the layers is that of the forward
pass. Source: dlib, dlib/serialize.h and dlib/dnn/layers.h.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from ..errors import FormatError

_MARK = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")  # each after its length
WIDTHS = (*[32] * 7, *[64] * 8, *[128] * 6, *[256] * 8)  # channels behind each of the 29 convolutions
EMBEDDING = 128  # numbers a face is described by
_STEM_SIDE, _SIDE = 7, 3  # of the first kernel and of all others, px


class _Read(NamedTuple):
    """A value, and where in the file the next one begins."""

    value: int
    stop: int


def face_recognition_tensors(raw: bytes) -> dict[str, np.ndarray]:
    """convN.weight (O, I, k, k) and convN.bias (O,), N from 0, and embedding.weight (128, 256), float32.

    dlib has a layer of scale and shift per channel behind each convolution: both are one convolution here.
    FormatError: another file.
    """
    try:
        found = [(match.group()[2:], _tensor(raw, match)) for match in _MARK.finditer(raw)]
        return _named(found)
    except (IndexError, ValueError) as error:
        raise FormatError(f"not dlib's face recognition network: {error}") from error


def _named(found: list[tuple[bytes, np.ndarray]]) -> dict[str, np.ndarray]:
    """By name, from (mark, numbers) in the order of the forward pass; ValueError for another network."""
    if [mark for mark, _ in found] != [*[b"con_4", b"affine_"] * len(WIDTHS), b"fc_2"]:
        raise ValueError("it has other layers")
    tensors = {"embedding.weight": found[-1][1].reshape(-1, EMBEDDING).T.copy()}
    before = 3
    for n, width in enumerate(WIDTHS):
        (_, kernel), (_, affine) = found[2 * n : 2 * n + 2]
        side = _SIDE if n else _STEM_SIDE
        scale, shift = affine.reshape(2, width)
        weight, bias = kernel[:-width].reshape(width, before, side, side), kernel[-width:]
        tensors[f"conv{n}.weight"] = weight * scale[:, None, None, None]
        tensors[f"conv{n}.bias"] = bias * scale + shift
        before = width
    return tensors


def _tensor(raw: bytes, mark: re.Match[bytes]) -> np.ndarray:
    """The numbers of the tensor behind a mark: version, four sizes, little-endian floats."""
    at = mark.end()
    if mark.group().endswith(b"fc_2"):  # its numbers of outputs and inputs come first
        at = _integer(raw, _integer(raw, at).stop).stop
    version = _integer(raw, at)
    if version.value != 2:
        raise ValueError(f"a tensor has version {version.value}")
    count, at = 1, version.stop
    for _ in range(4):
        size = _integer(raw, at)
        count, at = count * size.value, size.stop
    return np.frombuffer(raw, "<f4", count, at).astype(np.float32)


def _integer(raw: bytes, at: int) -> _Read:
    """dlib's packed integer: a byte with sign and length, then the bytes, the least first."""
    length = raw[at] & 0x0F
    value = int.from_bytes(raw[at + 1 : at + 1 + length], "little")
    return _Read(-value if raw[at] & 0x80 else value, at + 1 + length)
