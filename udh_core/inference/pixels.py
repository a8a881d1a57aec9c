"""How frames are cropped and pasted into, by what they are made of: RGB, or planes of Y, U and V."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from ..face import crop
from ..face.crop import CropSpec
from ..media.boxes import RgbBoxes
from ..media.colours import Colours
from ..media.planes import split
from ..media.tone_map import dynamic_range, from_screen, is_wide


class Pixels(Protocol):
    """place (2, 3): source px → crop px; occluder (S, S) float32 0..1 of the crop, or None: as in `face.crop`."""

    def crop(self, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 RGB of a frame."""
        ...

    def paste(self, frame: np.ndarray, patch: np.ndarray, place: np.ndarray, occluder: np.ndarray | None) -> np.ndarray:
        """A new frame, with a patch (S, S, 3) uint8 RGB in it."""
        ...


@dataclass(frozen=True)
class RgbPixels:
    """Of frames (H, W, 3) uint8 RGB."""

    spec: CropSpec
    feather: float

    def crop(self, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
        return crop.crop(frame, place, self.spec)

    def paste(self, frame: np.ndarray, patch: np.ndarray, place: np.ndarray, occluder: np.ndarray | None) -> np.ndarray:
        return crop.paste(frame, patch, place, self.spec, self.feather, occluder)


@dataclass(frozen=True)
class OverlayPixels:
    """Of frames (H, W, 3) uint8 RGB, which become overlays: (H, W, 4) RGBA, straight alpha, the mouth alone.

    Laid over the frame, an overlay gives what `RgbPixels` would, within 1 of 255.
    """

    spec: CropSpec
    feather: float

    def crop(self, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
        return crop.crop(frame, place, self.spec)

    def paste(self, frame: np.ndarray, patch: np.ndarray, place: np.ndarray, occluder: np.ndarray | None) -> np.ndarray:
        pasted = crop.paste(frame, patch, place, self.spec, self.feather, occluder)
        mask = crop.mask_in_frame(frame.shape[:2], place, self.spec, self.feather, occluder)
        alpha = np.ceil(mask * 255)  # never too little for what has changed
        overlay = np.zeros((*frame.shape[:2], 4), np.uint8)
        inside = alpha > 0
        share = alpha[inside, None] / 255
        colour = frame[inside] + (pasted[inside].astype(np.float32) - frame[inside]) / share
        overlay[inside, :3] = np.rint(np.clip(colour, 0, 255))
        overlay[inside, 3] = alpha[inside]
        return overlay


@dataclass(frozen=True)
class PlanePixels:
    """Of frames (H * 3 / 2, W) in planes, uint8, or of 10 bits uint16.

    Only the box around the crop becomes RGB, in BT.709 as all crops are, and only the patch becomes YUV, in `colours`.
    """

    spec: CropSpec
    feather: float
    colours: Colours

    @cached_property
    def _boxes(self) -> RgbBoxes:
        return RgbBoxes(self.colours)

    @cached_property
    def _from_rgb(self) -> np.ndarray:
        return self.colours.from_rgb()

    def _as_stored(self, patch: np.ndarray) -> np.ndarray:
        """(S, S, 3) float32 RGB 0..255 in the clip's own colours of one in BT.709."""
        trc, primaries = self.colours.transfer, self.colours.primaries
        if not (dynamic_range(trc) or is_wide(primaries)):
            return patch.astype(np.float32)
        stored = from_screen(patch.reshape(-1, 3).astype(np.float32) / 255, trc, primaries)
        return (stored * 255).astype(np.float32).reshape(patch.shape)

    def crop(self, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
        rows, columns = crop.source_part(split(frame)[0].shape, place, self.spec)
        box = self._boxes.rgb(frame, rows, columns)
        return crop.crop(box, crop.seen_from(place, np.array([columns.start, rows.start])), self.spec)

    def paste(self, frame: np.ndarray, patch: np.ndarray, place: np.ndarray, occluder: np.ndarray | None) -> np.ndarray:
        result = frame.copy()
        y, u, v = cv2.split(cv2.transform(self._as_stored(patch), self._from_rgb))
        crop.paste_planes(split(result), (y, u, v), place, self.spec, self.feather, occluder)
        return result


def pixels_for(
    spec: CropSpec, feather: float = crop.FEATHER, colours: Colours | None = None, *, overlay: bool = False
) -> Pixels:
    """For frames in planes of these colours, or without them in RGB, which may become overlays."""
    if colours is not None:
        return PlanePixels(spec, feather, colours)
    return OverlayPixels(spec, feather) if overlay else RgbPixels(spec, feather)
