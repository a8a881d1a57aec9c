"""What is remarkable about the file that a clip came from, and what was done about it at the import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..media.note import Note
from .finding import Finding


def source_findings(notes: Iterable[Note]) -> Iterator[Finding]:
    """A finding for each remark; there are none about an ordinary file."""
    for note in notes:
        yield Finding(note.name, "yellow" if note.serious else "green", note.sentence)
