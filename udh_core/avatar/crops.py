"""The face crops of an avatar on disk: how much room they take, and how they are written.

They are written row after row, not through a memory map: on a full disk that is an error, not a crash of the process.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from ..errors import MediaError
from ..face import crop
from ..face.crop import CropSpec
from ..files import atomic_write, check_room, in_bytes
from ..progress import Progress


def crops_bytes(frames: int, spec: CropSpec) -> int:
    """How much room the crops of so many frames take."""
    return frames * spec.size**2 * 3


def check_crops_fit(folder: Path, frames: int, spec: CropSpec) -> str:
    """The need in words, for people; FileError when the disk of `folder` has no room for it."""
    needed = crops_bytes(frames, spec)
    check_room(folder, needed, f"the crops of {frames} frames at {spec.size} px")
    return f"its crops take {in_bytes(needed)}"


def write_crops(
    path: Path, frames: Iterator[np.ndarray], transforms: np.ndarray, spec: CropSpec
) -> Generator[Progress, None, None]:
    """Write the crops of frames (H, W, 3) uint8 as (N, S, S, 3) uint8, zeros where the face is lost.

    transforms: (N, 2, 3) source px → crop px, NaN where the face is lost. MediaError when there are not N frames,
    FileError when the disk is full.
    """
    total = len(transforms)
    shape = (total, spec.size, spec.size, 3)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        done = 0
        for frame in frames:
            if done < total:
                file.write(_crop(frame, transforms[done], spec).data)
            done += 1
            yield Progress("crops", done, max(done, total))
        if done != total:
            raise MediaError(f"the clip has {done} frames now, its landmarks {total}; delete {path.parent}/track.npz")


def _crop(frame: np.ndarray, transform: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(S, S, 3) uint8, zeros where there is no face."""
    if not np.isfinite(transform[0, 0]):
        return np.zeros((spec.size, spec.size, 3), np.uint8)
    return np.ascontiguousarray(crop.crop(frame, transform, spec))
