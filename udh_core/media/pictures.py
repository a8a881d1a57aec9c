"""Frames as picture files in a folder, with their sound beside them."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from ..files import atomic_folder

NAME, SOUND = "{:06d}.png", "sound.wav"  # the first picture is number 1


class PictureFolder:
    """Writes frames as PNG files into a new folder; a context manager. It appears when the block ends well, or never.

    `sound`, a wav file, is copied beside them. The caller is inside `files.output_lock` of it. FileError as in
    `files.atomic_folder`.
    """

    def __init__(self, path: Path, sound: Path) -> None:
        self.path, self.frame_count = Path(path), 0
        with ExitStack() as stack:
            self._folder = stack.enter_context(atomic_folder(self.path, locked=True))
            shutil.copyfile(sound, self._folder / SOUND)
            self._stack = stack.pop_all()

    def __enter__(self) -> PictureFolder:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame (H, W, 4) uint8 RGBA, straight alpha."""
        self.frame_count += 1
        encoded = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        (self._folder / NAME.format(self.frame_count)).write_bytes(encoded.tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
