"""What the numbers of a picture in Y, U and V mean: the matrix that made them of RGB, their range, the file's tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from av.video.frame import VideoFrame

from .hdr_metadata import StaticHdr, static_hdr
from .planes import DEEP_PIXELS
from .tone_map import dynamic_range

HD_HEIGHT = 720  # an untagged picture from this size on is BT.709, as players take it; a smaller one BT.601
# All by libav's numbers, which are those of ITU-T H.273.
MATRICES = {1, 4, 5, 6, 7, 9, 10}  # of YUV: the ones libav converts
UNSPECIFIED = 2  # a tag that is not set
FULL_RANGE = 2
LUMA_WEIGHTS = {  # of red and blue, by matrix; that of green is the rest
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601 of PAL
    6: (0.299, 0.114),  # BT.601 of NTSC
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
WIDE_PRIMARIES = 9  # BT.2020
PRIMARIES = {1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22}
TRANSFERS = {1, *range(4, 19)}


@dataclass(frozen=True)
class Colours:
    """The colours of a picture in YUV."""

    matrix: int
    full_range: bool  # Y 0..255 instead of 16..235
    primaries: int
    transfer: int
    bits: int = 8  # of a sample; 10: stored in 16
    hdr: StaticHdr | None = None  # of a picture of more than 8 bits

    @property
    def pixels(self) -> Literal["yuv420p", "yuv420p10le"]:
        """libav's name of a picture of 4:2:0 in them."""
        return "yuv420p" if self.bits == 8 else "yuv420p10le"

    @property
    def range_name(self) -> str:
        """Of the range, as ffmpeg calls it."""
        return "pc" if self.full_range else "tv"

    def filter(self) -> str:
        """ffmpeg's filter that names these colours and converts nothing."""
        names = f"colorspace={self.matrix}:color_primaries={self.primaries}:color_trc={self.transfer}"
        return f"setparams=range={self.range_name}:{names}"

    def arguments(self) -> list[str]:
        """ffmpeg's options that tag a file with them."""
        tags = ["-colorspace", str(self.matrix), "-color_primaries", str(self.primaries)]
        return [*tags, "-color_trc", str(self.transfer), "-color_range", self.range_name]

    def from_rgb(self) -> np.ndarray:
        """(3, 4) float32: R, G, B 0..255 and a 1 → Y, U, V as they are stored. KeyError: no such linear matrix."""
        finer = 2 ** (self.bits - 8)
        whole = (2**self.bits - 1) / 255
        red, blue = LUMA_WEIGHTS[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        limited = (219 / 255 * finer, 224 / 255 * finer, 16.0 * finer)
        luma_scale, chroma_scale, black = (whole, whole, 0.0) if self.full_range else limited
        grey = 128.0 * finer
        rows = [[*(luma * luma_scale), black], [*(u * chroma_scale), grey], [*(v * chroma_scale), grey]]
        return np.array(rows, np.float32)


BT709 = Colours(1, False, 1, 1)


def assumed_matrix(frame: VideoFrame) -> int:
    """The matrix of a frame in YUV: as it is tagged, or as players take it."""
    if frame.colorspace in MATRICES:
        return frame.colorspace
    if dynamic_range(frame.color_trc):
        return 9
    return 1 if min(frame.width, frame.height) >= HD_HEIGHT else 6


def colours_of(frame: VideoFrame) -> Colours:
    """Of a frame in YUV; primaries and transfer function that are not named count as those of BT.709."""
    full_range = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    primaries = frame.color_primaries if frame.color_primaries in PRIMARIES else 1
    transfer = frame.color_trc if frame.color_trc in TRANSFERS else 1
    bits = 10 if frame.format.name == DEEP_PIXELS else 8
    hdr = static_hdr(frame) if frame.format.components[0].bits > 8 else None
    return Colours(assumed_matrix(frame), full_range, primaries, transfer, bits, hdr)
