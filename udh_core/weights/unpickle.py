"""Pickles that hold arrays of numbers and nothing else, read without running anything that a pickle asks for.

Used once, when a weight file is fetched or a foreign checkpoint imported; at run time only safetensors is read.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

from ..errors import FormatError

_DAMAGED = (  # all that pickle is documented or seen to raise on bytes that are no pickle
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ImportError,
)


def array_tree(raw: bytes) -> dict[str, Any]:
    """Nested dict of numpy arrays from a pickle that holds nothing else; FormatError for any other content."""
    tree = unpickled(ArrayUnpickler(io.BytesIO(raw)))
    if not isinstance(tree, dict):
        raise FormatError(f"the pickle holds a {type(tree).__name__} where a dict of arrays is expected")
    return tree


def _number_dtype(code: str, *flags: bool) -> np.dtype:
    dtype = np.dtype(code, *flags)
    if dtype.kind not in "fiub":  # above all no object arrays: they hold anything
        raise FormatError(f"the pickle holds an array of {dtype}; only numbers are read")
    return dtype


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # taken from an array: the module it lives in differs by numpy version
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _number_dtype,
    ("collections", "OrderedDict"): OrderedDict,
}


class ArrayUnpickler(pickle.Unpickler):
    """Knows the names that a dict of numpy arrays needs, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        try:
            return _ALLOWED[module, name]
        except KeyError as e:
            raise FormatError(f"the pickle asks for {module}.{name}; only arrays of numbers are read") from e


def unpickled(source: ArrayUnpickler) -> Any:  # noqa: ANN401 - whatever was pickled
    """What a restricted unpickler finds; FormatError when its bytes are damaged or ask for more than it knows."""
    try:
        return source.load()
    except _DAMAGED as e:
        raise FormatError(f"the pickle is damaged or no pickle of arrays: {e}") from e
