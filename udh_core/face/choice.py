"""Which of the faces in a picture is meant: the n-th by size, or the one at a place; what to say if there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import NoFaceError, OptionError
from .crop import eye_distance
from .finder import Face, Wanted, is_at

LEAST_EYES_PX = 60  # between the outer corners of the eyes; the README's limit
SMALL_EYES_PX = 90  # a face that is lost now and then may be so because of its size; chosen
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass
class Choice:
    """What the user said, and the most faces that were seen at once as long as it was not met."""

    index: int = 0  # 0 = the largest and most central
    point: tuple[float, float] | None = None  # x y, px: the face that is there, instead
    seen: list[Face] = field(default_factory=list)

    @property
    def wanted(self) -> Wanted:
        """What a search has to find."""
        return Wanted(point=self.point) if self.point is not None else Wanted(self.index + 1)

    def pick(self, faces: list[Face]) -> Face | None:
        """The face that is meant, of those in a frame, the largest and most central first; None if it is not there."""
        if len(faces) > len(self.seen):
            self.seen = faces
        if self.point is None:
            return faces[self.index] if self.index < len(faces) else None
        x, y = self.point
        there = [face for face in faces if is_at(face.box, (x, y))]
        return min(there, key=lambda face: (face.box.x - x) ** 2 + (face.box.y - y) ** 2, default=None)

    def check(self, width: int, height: int) -> None:
        """OptionError when the place lies outside of a picture of this size."""
        if self.point is not None and not (0 <= self.point[0] < width and 0 <= self.point[1] < height):
            raise OptionError(
                f"`face_at` {_place(*self.point)} lies outside of the picture, which has {width}×{height} px; "
                "give x and y of the face in its first frame"
            )

    def refusal(self, frames: int, tiny: list[Face]) -> NoFaceError:
        """What to say when none of so many frames showed the face that is meant; tiny: faces too small to be used."""
        if not self.seen and tiny:
            eyes_px = float(eye_distance(tiny[0].landmarks))
            return NoFaceError(
                f"no face found in any of {frames} frames is large enough: {too_small('of one', eyes_px)}"
            )
        if not self.seen:
            return NoFaceError(
                f"no face found in any of {frames} frames; use a clip in which the face is seen from the front"
            )
        if self.point is None:
            return NoFaceError(_too_many(self.index, len(self.seen)))
        places = ", ".join(_place(face.box.x, face.box.y) for face in self.seen)
        return NoFaceError(
            f"no face at `face_at` {_place(*self.point)} in any of {frames} frames; "
            f"there {'is one' if len(self.seen) == 1 else 'are some'} at {places}: give such a place"
        )


def too_small(whose: str, eyes_px: float) -> str:
    """In words: how far the eyes `whose` are apart, how far they should be, and the remedy."""
    return (
        f"the eyes {whose} are {eyes_px:.0f} px apart, {LEAST_EYES_PX} px are needed; use a closer shot, or the "
        "camera's original file"
    )


def _too_many(index: int, count: int) -> str:
    if count == 1:
        return f"there is 1 face; `face_index` {index} asks for a {_ordinal(index)}: give 0"
    return (
        f"there are {count} faces; `face_index` {index} asks for a {_ordinal(index)}: "
        f"give 0 (the largest and most central) to {count - 1}"
    )


def _ordinal(index: int) -> str:
    return _ORDINALS[index] if index < len(_ORDINALS) else f"{index + 1}th"


def _place(x: float, y: float) -> str:
    return f"{x:.0f} {y:.0f}"
