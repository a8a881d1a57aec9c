"""How long a wav file is, and how long its header says that it is."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNKNOWN_BYTES = 0x7FFF0000  # from here on, or 0, a writer that could not go back left the length open
HEAD, CHUNK = struct.Struct("<4s4x4s"), struct.Struct("<4sI")


def surplus_s(path: Path) -> float:
    """Seconds of sound behind that of which the header knows; negative: that the file lacks. 0 for any other file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or HEAD.unpack(head) != (b"RIFF", b"WAVE"):
            return 0.0
        chunks = {name: (start, length) for name, start, length in _chunks(file, size)}
        start, length = chunks.get(b"data", (0, 0))
        bytes_per_s = _bytes_per_s(file, *chunks.get(b"fmt ", (0, 0)))
    if not bytes_per_s or not 0 < length < UNKNOWN_BYTES:
        return 0.0
    last = max(begin + count + count % 2 for begin, count in chunks.values())
    return (size - last if last < size else min(0, size - start - length)) / bytes_per_s


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the content and length of all chunks; what is no chunk ends them, so does another file."""
    place = HEAD.size
    while place + CHUNK.size <= size:
        file.seek(place)
        name, length = CHUNK.unpack(file.read(CHUNK.size))
        beyond = place + CHUNK.size + length > size
        if (
            name == b"RIFF"
            or not name.isascii()
            or not name.decode("ascii").isprintable()
            or (beyond and name != b"data")
        ):
            return
        yield name, place + CHUNK.size, length
        place += CHUNK.size + length + length % 2


def _bytes_per_s(file: BinaryIO, start: int, length: int) -> int:
    if length < 12:
        return 0
    file.seek(start + 8)
    return int.from_bytes(file.read(4), "little")
