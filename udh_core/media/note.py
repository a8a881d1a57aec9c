"""What is out of the ordinary about a file that was read, in a sentence: nothing is done to it silently."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One remark about a picture or a sound as it was read; the audit repeats it."""

    name: str  # of the check, in a word or two: "HDR"
    sentence: str  # what was found, what was done about it, and what else can be chosen
    serious: bool = True  # False: it was dealt with entirely
