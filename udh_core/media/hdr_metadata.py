"""Static metadata of HDR10: the display that a picture was graded on, and how bright its brightest is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from av.video.frame import VideoFrame

# libav's structures: red, green, blue, white, each x and y, then least and most light, all as fractions; two flags.
DISPLAY, LIGHT = struct.Struct("=20i2i"), struct.Struct("=2I")
NAMES = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}  # of their parameters
PLACE, NITS = 50_000, 10_000  # steps of 1 in which the standard, SMPTE ST 2086, counts chromaticity and cd/m²


@dataclass(frozen=True)
class Mastering:
    """The display that a picture was graded on, in the standard's whole numbers."""

    places: tuple[int, ...]  # x, y of red, green, blue and white, in 0.00002
    nits: tuple[int, int]  # least and most light in 0.0001 cd/m²

    def text(self) -> str:
        """As both encoders take it."""
        red, green, blue, white = (f"({x},{y})" for x, y in zip(self.places[::2], self.places[1::2], strict=True))
        return f"G{green}B{blue}R{red}WP{white}L({self.nits[1]},{self.nits[0]})"


@dataclass(frozen=True)
class StaticHdr:
    """What is known of a whole picture."""

    mastering: Mastering | None = None
    light: tuple[int, int] | None = None  # of the brightest pixel, and of the brightest frame on average, cd/m²

    def parameters(self, encoder: Literal["libx264", "libx265"]) -> str:
        """Of these encoders, to be joined to others by a colon; "" where there is nothing to say."""
        display_name, light_name = NAMES[encoder]
        said = []
        if self.mastering is not None:
            said.append(f"{display_name}={self.mastering.text()}")
        if self.light is not None:
            said.append(f"{light_name}={self.light[0]},{self.light[1]}")
        return ":".join(said)


def static_hdr(frame: VideoFrame) -> StaticHdr | None:
    """What a decoded frame says, from its packet or from the file's header; None where that is nothing."""
    display = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    light = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    found = StaticHdr(
        None if display is None else _mastering(bytes(display)),
        None if light is None else _light(bytes(light)),
    )
    return None if found == StaticHdr() else found


def _mastering(data: bytes) -> Mastering | None:
    """None where a part of it is not known: the stream could not say so."""
    numbers = DISPLAY.unpack_from(data) if len(data) >= DISPLAY.size else (0,) * 22
    if 0 in (*numbers[1:20:2], *numbers[20:]):  # no denominator; a flag that is not set
        return None
    parts = [Fraction(*numbers[k : k + 2]) for k in range(0, 20, 2)]
    least, most = (round(part * NITS) for part in parts[8:])
    return Mastering(tuple(round(part * PLACE) for part in parts[:8]), (least, most))


def _light(data: bytes) -> tuple[int, int] | None:
    brightest, average = LIGHT.unpack_from(data) if len(data) >= LIGHT.size else (0, 0)
    return (brightest, average) if brightest or average else None
