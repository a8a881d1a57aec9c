"""Where the mouth was drawn in each frame of a render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..avatar.folder import Avatar
from ..face import crop
from ..face.crop import CropSpec
from ..face.occlusion import Occlusion
from ..media.probe import VideoInfo
from .options import RenderOptions
from .playback import plan


@dataclass(frozen=True)
class Places:
    """Of the frames of a video, N of them: which frame of the clip is in it, and where the face crop lies there."""

    info: VideoInfo  # of the clip
    spec: CropSpec
    feather: float
    numbers: np.ndarray  # (N,) int64 of the clip's frames; where the last drawn one is held, of that
    transforms: np.ndarray  # (frames of the clip, 2, 3) float32, px of the frame → crop px; NaN where nothing is drawn
    occlusion: Occlusion  # of the clip

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.info.height, self.info.width

    @property
    def lost(self) -> np.ndarray:
        """(frames of the clip,) bool: those in which nothing can be drawn."""
        return ~np.isfinite(self.transforms[:, 0, 0])

    def is_drawn(self, k: int) -> bool:
        """Whether the mouth in frame k of the video is a drawn one."""
        return bool(np.isfinite(self.transforms[self.numbers[k], 0, 0]))

    def transform(self, k: int) -> np.ndarray:
        """(2, 3) float32: px of frame k of the video → crop px; NaN where nothing is drawn."""
        return self.transforms[self.numbers[k]]

    def occluder(self, k: int) -> np.ndarray | None:
        """(S, S) float32 0..1 of the crop: what lies before the face in frame k of the video, if anything does."""
        return self.occlusion.opacity(int(self.numbers[k]), self.spec.size)

    def mask(self, k: int) -> np.ndarray:
        """(H, W) float32 0..1: the weight of the drawn mouth in frame k of the video, as it was pasted."""
        if not self.is_drawn(k):
            return np.zeros(self.shape, np.float32)
        return crop.mask_in_frame(self.shape, self.transform(k), self.spec, self.feather, self.occluder(k))

    def redrawn(self, k: int) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 px outside which frame k of the video is the clip's; None where nothing is drawn."""
        return crop.redrawn_box(self.shape, self.transform(k), self.spec) if self.is_drawn(k) else None

    def box(self, k: int) -> tuple[int, int, int, int] | None:
        """x, y, width, height px of the face crop in frame k of the video; None where nothing is drawn."""
        if not self.is_drawn(k):
            return None
        x0, y0, x1, y1 = crop.box_in_frame(self.shape, self.transform(k), self.spec)
        return x0, y0, x1 - x0, y1 - y0


def places_of(avatar: Avatar, total: int, options: RenderOptions, others: Sequence[Avatar] = ()) -> Places:
    """Of a render with these options that has `total` frames; FormatError and OptionError as for a render.

    others: who speaks beside them; where a frame is held, it is for all.
    """
    transforms = drawn_places(avatar)
    numbers = np.array([number for stretch in plan(avatar, total, options) for number in stretch.numbers()])
    if options.lost == "hold":
        lost = np.any([~np.isfinite(transforms[:, 0, 0]), *(lost_frames(other) for other in others)], axis=0)
        drawn = np.maximum.accumulate(np.where(lost[numbers], -1, np.arange(total)))
        numbers = np.where(drawn < 0, numbers, numbers[drawn])
    return Places(avatar.info, avatar.crop, options.feather, numbers, transforms, avatar.occlusion())


def drawn_places(avatar: Avatar) -> np.ndarray:
    """(N, 2, 3) float32 px of the clip's frames → crop px; NaN where nothing can be drawn."""
    return np.where(lost_frames(avatar)[:, None, None], np.float32(np.nan), avatar.track().transforms)


def lost_frames(avatar: Avatar) -> np.ndarray:
    """(N,) bool: frames of the clip in which nothing can be drawn."""
    track = avatar.track()
    return ~track.present | avatar.occlusion().hidden(len(track.valid))
