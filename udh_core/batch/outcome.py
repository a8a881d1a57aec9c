"""How a job ended, and whose fault it was: only what may go well the next time is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import OUT_OF_MEMORY
from ..files import os_error_line

Fault = Literal["", "input", "in use", "worker", "program"]


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended."""

    fault: Fault = ""  # "" = done; "in use" and "worker" (died, short of memory, cut off) may be tried again
    error: str = ""  # one line: what is wrong and what to do
    seconds: float = 0.0
    worker: str = ""  # host:process


def machines_fault(error: BaseException) -> str:
    """What to do about a full disk, a name or place that cannot be used, or too little memory; "" for other errors."""
    if isinstance(error, OSError):
        return os_error_line(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or take less of the clip"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY):
        return "the device is out of memory; close other programs that use it, or give `device` cpu"
    return ""
