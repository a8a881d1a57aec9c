"""Checkpoints that torch.save wrote, read as plain numpy arrays: no torch, and nothing in the file is ever run.

Why not torch.load(weights_only=True): it was broken twice, CVE-2025-32434 (code execution, torch ≤ 2.5.1) and
CVE-2026-24747 (memory corruption through storage metadata that is not checked, torch ≤ 2.9.1), and any torch from 2.4
on may be installed here. This reader knows the few names that a state dict needs, and checks every tensor's size,
offset and strides against its storage.

An import that requires torch ≥ 2.10 could use torch.load(weights_only=True) in its place.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import FileError, FormatError
from .unpickle import ArrayUnpickler, unpickled

_DTYPES = {  # as strings: a file cannot change what they mean
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_WRAPPERS = ("model_state_dict", "model", "state_dict", "net")  # what a training saves its network's state dict under
_PREFIX = "module."  # before every name, where torch.nn.DataParallel wrapped the network
_MAX_PICKLE_BYTES = 64 << 20  # names and shapes only; the numbers lie in files of their own


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int  # numbers in it


class _StoredTensor(NamedTuple):
    """Where in the file a tensor lies; its numbers are read when they are asked for."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth`, under the names that the network itself gives them.

    FileError when there is no such file; FormatError when it is damaged, of another kind, or asks for code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"no such file: {path}")
    with path.open("rb") as file:
        return state_dict(file, str(path))


def state_dict(file: BinaryIO, name: str) -> dict[str, np.ndarray]:
    """The tensors of an open file, which goes by `name` in errors; FormatError as in `read_state_dict`."""
    try:
        with zipfile.ZipFile(file) as opened:
            archive = _Archive(opened, name)
            tensors = _canonical(archive.tree())
            if not tensors:
                raise FormatError(f"{name} holds no network's tensors; give the checkpoint of a trained model")
            return {key: archive.array(tensor) for key, tensor in tensors.items()}
    # zipfile raises RuntimeError for an encrypted member, NotImplementedError for a compression that it does not know
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise FormatError(
            f"{name} is damaged, or no file of torch.save since version 1.6; save its state_dict again"
        ) from error


def _canonical(tree: object) -> dict[str, _StoredTensor]:
    """A network's tensors under its own names: taken out of what wraps them, without a prefix that all of them have."""
    candidates = [tree, *(tree.get(key) for key in _WRAPPERS)] if isinstance(tree, dict) else []
    for candidate in candidates:
        tensors = _tensors(candidate)
        if tensors:
            prefix = _PREFIX if all(name.startswith(_PREFIX) for name in tensors) else ""
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {}


def _tensors(candidate: object) -> dict[str, _StoredTensor]:
    entries = candidate.items() if isinstance(candidate, dict) else ()
    return {str(name): value for name, value in entries if isinstance(value, _StoredTensor)}


class _Archive:
    """The zip file: one pickle that names the tensors, and one file of numbers per storage."""

    def __init__(self, file: zipfile.ZipFile, name: str) -> None:
        self.file, self.name = file, name
        entries = [entry for entry in file.namelist() if entry.endswith("/data.pkl")]
        if len(entries) != 1:
            raise FormatError(f"{name} is a zip file, but not one of torch.save")
        self.root = entries[0].removesuffix("data.pkl")
        if f"{self.root}byteorder" in file.namelist() and file.read(f"{self.root}byteorder") != b"little":
            raise FormatError(f"{name} was saved on a big-endian machine; save it again on another")

    def tree(self) -> object:
        """What was saved, with a _StoredTensor in place of every tensor."""
        name = f"{self.root}data.pkl"
        if self.file.getinfo(name).file_size > _MAX_PICKLE_BYTES:
            raise FormatError(f"{self.name}: its list of tensors is larger than that of any network")
        try:
            return unpickled(_TorchUnpickler(io.BytesIO(self.file.read(name))))
        except FormatError as error:
            raise FormatError(f"{self.name} is not opened: {error}") from error

    def array(self, tensor: _StoredTensor) -> np.ndarray:
        """The numbers of a tensor, in an array of their own."""
        storage, name = tensor.storage, f"{self.root}data/{tensor.storage.key}"
        dtype = np.dtype(storage.dtype)
        try:
            entry = self.file.getinfo(name)
        except KeyError as error:
            raise FormatError(f"{self.name} is damaged: {name} is missing") from error
        size = storage.length * dtype.itemsize
        if entry.file_size != size or entry.compress_type != zipfile.ZIP_STORED or not _fits(tensor):
            raise FormatError(f"{self.name} is damaged: {name} is not what its list of tensors says")
        flat = np.frombuffer(self.file.read(name), dtype)[tensor.offset :]
        strides = [step * dtype.itemsize for step in tensor.strides]
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides).copy()


def _fits(tensor: _StoredTensor) -> bool:
    """Whether a tensor lies wholly inside its storage, and is not blown up out of it."""
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    return math.prod(tensor.shape) <= tensor.storage.length and (0 in tensor.shape or last < tensor.storage.length)


def _whole(*values: object) -> tuple[int, ...]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise FormatError("a tensor has a size that is no whole number")
    return tuple(int(value) for value in values)  # pyright: ignore[reportArgumentType]


def _rebuild_tensor(storage: object, offset: int, shape: tuple, strides: tuple, *_: object) -> _StoredTensor:
    """Stands in for torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise FormatError("a tensor without its storage")
    return _StoredTensor(storage, _whole(offset)[0], _whole(*shape), _whole(*strides))


def _rebuild_parameter(tensor: object, *_: object) -> object:
    """Stands in for torch._utils._rebuild_parameter."""
    return tensor


_TORCH_NAMES: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _TorchUnpickler(ArrayUnpickler):
    """Knows what a state dict needs, and hands out descriptions instead of tensors."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        known = _TORCH_NAMES.get((module, name))
        return super().find_class(module, name) if known is None else known

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - as in the base class
        kind, dtype, key, _, count = pid
        if kind != "storage" or dtype not in _DTYPES.values() or type(key) is not str:
            raise FormatError("the pickle refers to something that is no tensor")
        return _Storage(dtype, key, _whole(count)[0])
