"""Where the lips are in redrawn crops: each is pasted into its frame, and the landmarks are detected again there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..face import crop as crop_module
from ..face import mouth, topology
from ..face.detector import FaceMesh, box_of
from ..face.mouth import mouth_opening
from ..face.tracking import seen_region
from ..media.video import read_frames
from .held_out import HeldOut
from .result import Mouths


class Region(NamedTuple):
    """The part of a frame in which its face is looked for: what is kept does not grow with the frame."""

    pixels: np.ndarray  # (h, w, 3) uint8
    corner: np.ndarray  # (2,) float32 x and y of its pixel 0 in the frame


@dataclass(frozen=True)
class LipDetector:
    """The face mesh, and what it sees of the held-out frames: landmarks are found in a frame, not in a bare crop."""

    held_out: HeldOut
    mesh: FaceMesh
    regions: tuple[Region, ...]  # of the held-out frames, in their order

    def detect(self, crops: np.ndarray) -> Mouths:
        """Crops (m, S, S, 3) uint8 of the held-out frames, with their lips."""
        points = np.stack([self._landmarks(row, crop) for row, crop in enumerate(crops)])
        transforms = self.held_out.transforms[self.held_out.frames]
        shapes = mouth.mouth_shape(points, transforms, self.held_out.spec)
        return Mouths(crops, mouth_opening(points), shapes[:, : len(topology.LIPS)])

    def _landmarks(self, row: int, crop: np.ndarray) -> np.ndarray:
        """(468, 2) float32, px of the source frame, of one crop (S, S, 3) uint8 in its frame."""
        number, region = int(self.held_out.frames[row]), self.regions[row]
        place = crop_module.seen_from(self.held_out.transforms[number], region.corner)
        shown = crop_module.paste(region.pixels, crop, place, self.held_out.spec)
        box = box_of(self.held_out.data.landmarks[number] - region.corner)
        return self.mesh.locate(shown, box)[0] + region.corner


def open_lip_detector(held_out: HeldOut, models: Path | None = None) -> LipDetector:
    """Read the held-out frames; MediaError when the video is damaged. `models`: folder of the weight files."""
    return LipDetector(held_out, FaceMesh(models), _read_regions(held_out))


def _read_regions(held_out: HeldOut) -> tuple[Region, ...]:
    first, last = int(held_out.frames[0]), int(held_out.frames[-1])
    wanted, found = set(held_out.frames.tolist()), []
    frames = read_frames(held_out.data.avatar.video, start=first, count=last - first + 1)
    for number, frame in enumerate(frames, first):
        if number in wanted:
            rows, columns = seen_region(box_of(held_out.data.landmarks[number]), frame.shape)
            corner = np.array([columns.start, rows.start], np.float32)
            found.append(Region(frame[rows, columns].copy(), corner))
    return tuple(found)
