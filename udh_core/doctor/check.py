"""What one check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "lacks"]  # note: works without; lacks: something that is needed


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    level: Level
    name: str
    found: str
    remedy: str = ""  # what to do, where something is wrong
