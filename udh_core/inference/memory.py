"""The memory of this process: what it does not need goes back to the system."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np


def give_back_freed() -> None:
    """Return memory that was freed, and that the C library keeps for a later use, to the system.

    For the end of a stage that needed much. Other C libraries than glibc do it by themselves, or cannot be asked.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)


def give_back_read(values: np.ndarray) -> None:
    """Let the system take what was read of a memory-mapped file; it is read again if needed. Other arrays stay."""
    mapped = getattr(values, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and getattr(values, "mode", "") == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
