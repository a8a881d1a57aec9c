"""Faces from frame to frame: following one person, cuts, and gaps that are filled or left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import NoFaceError
from ..intervals import runs
from .choice import Choice
from .detector import _ROI_SCALE, FaceBox
from .finder import Face, FaceFinder, Wanted
from .identity import OTHER, STRANGER, SURE, FaceEmbedder, Person
from .topology import LANDMARK_COUNT, SCHEME

_CUT_SIDE = 48  # px of the thumbnail on which cuts are found
_CUT_RATIO, _CUT_MIN = 2.5, 3.0  # a cut differs this many times more than its neighbours, and this many grey levels
_CUT_AROUND_S = 0.16  # on either side: the neighbours it is compared with
_ABRUPT = 12.0  # grey levels: the face may be anywhere in the next picture
_RECENT = 4  # frames: a change that stands out from theirs may be a cut
_CHECK_EVERY = 25  # frames at most, from one look at whose face it is to the next
_DOUBTS = 3  # looks in a row that take a face which was followed without a break for another person's
_ALIKE = 0.1  # distances of embeddings that differ by less say nothing about who is who


@dataclass(frozen=True)
class FaceFrame:
    """What was found in one frame."""

    landmarks: np.ndarray | None  # (468, 2) float32, x y in source-frame px; None where no face was found
    score: float  # 0..1, the mesh's own confidence
    change: float  # mean grey levels by which the picture differs from the frame before; 0 for the first
    distance: float = math.nan  # of the face seen from the person's, see `identity`; NaN where it was not measured


@dataclass(frozen=True)
class FaceTrack:
    """Row i belongs to video frame i; never shorter than the video."""

    landmarks: np.ndarray  # (N, 468, 2) float32, x y in source-frame px; NaN inside gaps that were too long to fill
    transforms: np.ndarray  # (N, 2, 3) float32, source px → crop px, similarity, smoothed; NaN likewise
    valid: np.ndarray  # (N,) bool; False = interpolated or lost, excluded from training
    shot_starts: np.ndarray  # (N,) bool; True at frame 0 and at the first frame after a cut
    scheme: str = SCHEME
    distance: np.ndarray | None = None  # (N,) float32, of the face seen from the person's; None: nobody measured it

    def arrays(self) -> dict[str, Any]:
        """By name, for a file: what is not measured is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def others(self) -> np.ndarray:
        """(N,) bool; True where another person is seen, and the person who is followed is not."""
        return np.zeros(len(self.valid), bool) if self.distance is None else ~self.present & (self.distance > OTHER)

    @property
    def doubtful(self) -> np.ndarray:
        """(N,) bool; True where the face is followed, though it may be another person's."""
        return np.zeros(len(self.valid), bool) if self.distance is None else self.present & (self.distance > SURE)

    @property
    def present(self) -> np.ndarray:
        """(N,) bool; True where the face is known well enough to render (found or interpolated)."""
        return np.isfinite(self.transforms[:, 0, 0])


def seen_region(box: FaceBox, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a frame of this shape (H, W, …) outside of which the mesh, looking at `box`, sees nothing."""
    half = box.side * _ROI_SCALE / 2 * (abs(np.cos(box.angle)) + abs(np.sin(box.angle))) + 2

    def span(middle: float, length: int) -> slice:
        start = int(np.clip(np.floor(middle - half), 0, length - 1))
        return slice(start, int(np.clip(np.ceil(middle + half), start + 1, length)))

    return span(box.y, shape[0]), span(box.x, shape[1])


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    step = max(1, min(frame.shape[:2]) // (4 * _CUT_SIDE))
    small = cv2.resize(
        np.ascontiguousarray(frame[::step, ::step]), (_CUT_SIDE, _CUT_SIDE), interpolation=cv2.INTER_AREA
    )
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def detect(
    frames: Iterable[np.ndarray],
    *,
    models: Path | None = None,
    face_index: int = 0,
    point: tuple[float, float] | None = None,
) -> Iterator[FaceFrame]:
    """Follow one person through frames (H, W, 3) uint8 RGB: one FaceFrame per frame, in order; see `Follower`."""
    return Follower(models, face_index=face_index, point=point).follow(frames)


class Follower:
    """Follows one person's face through frames.

    The box comes from the last frame's landmarks; faces are searched for at the start, when the face is lost, when the
    mesh is unsure, and after an abrupt change of the picture. Who is meant is chosen once: `face_index` counts faces
    from the largest and most central, `point` (x, y px) picks the face there instead. From then on the person is known
    by the face itself; it is looked at again after changes of the picture, and every second or so.
    """

    def __init__(
        self, models: Path | None = None, *, face_index: int = 0, point: tuple[float, float] | None = None
    ) -> None:
        self._finder, self._embedder = FaceFinder(models), FaceEmbedder(models)
        self._choice, self._person = Choice(face_index, point), Person()
        self.rank = 0  # how many faces come before the person's in the frame in which it is first seen
        self._box: FaceBox | None = None  # where the mesh looks next
        self._last: FaceBox | None = None  # where the person was seen last, in this shot
        self._until_check, self._check_after, self._doubts = 0, 1, 0
        self._search, self._search_all = _Patience(most=5), _Patience(most=_CHECK_EVERY)
        self._sees_others = False
        self._first: np.ndarray | None = None  # the first frame, as long as there was no face in any
        self._frames = 0

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[FaceFrame]:
        """One FaceFrame per frame (H, W, 3) uint8 RGB, in order. OptionError when the point lies outside of them."""
        previous: np.ndarray | None = None
        recent: list[float] = []
        for frame in frames:
            if self._frames == 0:
                self._choice.check(frame.shape[1], frame.shape[0])
                self._first = frame
            self._frames += 1
            thumbnail = _thumbnail(frame)
            change = 0.0 if previous is None else float(np.abs(thumbnail - previous).mean())
            previous = thumbnail
            if change > _ABRUPT:
                self._box, self._last = None, None
            if change > max(_CUT_MIN, _CUT_RATIO * max(recent[-_RECENT:], default=0.0)):
                self._begin_anew()
            recent = [*recent[1 - _RECENT :], change]
            face, distance = self._look(frame)
            self._box = None if face is None else face.box
            self._last = self._box or self._last
            landmarks, score = (None, 0.0) if face is None else (face.landmarks, face.score)
            yield FaceFrame(landmarks, score, change, distance)

    def check_found(self) -> None:
        """NoFaceError saying why, when the face that is meant was in none of the frames."""
        if not self._person.is_known:
            tiny = [] if self._first is None else self._finder.find_tiny(self._first)
            raise self._choice.refusal(self._frames, tiny)

    def _begin_anew(self) -> None:
        """The picture has changed: all that took patience is done at once."""
        self._until_check, self._check_after, self._doubts = 0, 1, 0
        self._search.end()
        self._search_all.end()

    def _look(self, frame: np.ndarray) -> tuple[Face | None, float]:
        """The person's face, and how unlike it the face seen is: NaN where that was not measured."""
        face = None if self._box is None else self._finder.follow(frame, self._box)
        if face is None:
            return self._found(frame)
        if self._until_check > 0:
            self._until_check -= 1
            return face, math.nan
        return self._checked(frame, face)

    def _checked(self, frame: np.ndarray, face: Face) -> tuple[Face | None, float]:
        """A face that was followed, or another one if that is another person's."""
        embedding = self._embedder.embed(frame, face.landmarks)
        distance = self._person.distance(embedding)
        if distance > (OTHER if self._check_after == 1 else STRANGER):
            self._doubts += 1
            if self._doubts < _DOUBTS:
                return face, math.nan
            return self._found(frame)
        self._saw(embedding)
        return face, min(distance, OTHER)

    def _saw(self, embedding: np.ndarray) -> None:
        """The person, for sure: look again soon, and then less and less often."""
        self._person.remember(embedding)
        self._doubts, self._until_check = 0, self._check_after - 1
        self._check_after = min(2 * self._check_after, _CHECK_EVERY)

    def _found(self, frame: np.ndarray) -> tuple[Face | None, float]:
        """The person among all faces of a frame."""
        if self._sees_others and not self._search.is_due():
            return None, math.nan
        wanted = Wanted() if self._person.is_known else self._choice.wanted
        faces = self._finder.find(frame, wanted, near=self._last, thorough=False)
        face, distance = self._pick(frame, faces)
        if face is None and self._search_all.is_due():
            wanted = Wanted(len(faces) + 1) if self._person.is_known else self._choice.wanted
            faces = self._finder.find(frame, wanted)
            face, distance = self._pick(frame, faces)
        self._sees_others = face is None and bool(faces)
        return face, distance

    def _pick(self, frame: np.ndarray, faces: list[Face]) -> tuple[Face | None, float]:
        """Of these faces the person's, or None, and how unlike the person's it, or the one most like it, is."""
        if not self._person.is_known:
            chosen = self._choice.pick(faces)
            if chosen is None:
                return None, math.nan
            faces = [chosen]
        embeddings = [self._embedder.embed(frame, face.landmarks) for face in faces]
        if not self._person.is_known:
            self._first = None
            self._person.remember(embeddings[0])
            self.rank = sum(comes_before(face.box, faces[0].box) for face in self._finder.find_all(frame))
        distances = [self._person.distance(embedding) for embedding in embeddings]
        best = min(distances, default=math.nan)
        if not best <= OTHER:
            return None, best
        alike = [k for k, distance in enumerate(distances) if distance <= min(best + _ALIKE, OTHER)]
        last = self._last
        if last is None:
            k = distances.index(best)
        else:
            k = min(alike, key=lambda k: math.hypot(faces[k].box.x - last.x, faces[k].box.y - last.y))
        self._saw(embeddings[k])
        return faces[k], distances[k]


def comes_before(one: FaceBox, other: FaceBox) -> bool:
    """Whether a face lies left of another one, or above it in the same column. Never of one face that was found twice,
    a few px apart."""
    near = 0.5 * max(one.side, other.side)
    right, down = other.x - one.x, other.y - one.y
    return right > near or (abs(right) <= near and down > near)


@dataclass
class _Patience:
    """Says when to do again what takes time: less and less often, as long as it leads nowhere."""

    most: int  # frames at most from one time to the next
    _step: int = 1
    _left: int = 0  # frames

    def is_due(self) -> bool:
        """To be asked once a frame."""
        if self._left > 0:
            self._left -= 1
            return False
        self._left, self._step = self._step - 1, min(2 * self._step, self.most)
        return True

    def end(self) -> None:
        """It is due now."""
        self._step, self._left = 1, 0


def find_cuts(changes: np.ndarray, fps: float) -> np.ndarray:
    """(N,) bool, True at frame 0 and at every first frame after a cut, from (N,) float `FaceFrame.change`s.

    A cut is a change that stands out from the changes around it: the bare size of a change says little, a cut between
    two takes of one person moves few pixels.
    """
    starts = np.zeros(len(changes), bool)
    starts[:1] = True
    if len(changes) < 3:
        return starts
    change = changes[1:]
    side = max(2, round(_CUT_AROUND_S * fps))
    padded = np.pad(change, side, mode="reflect" if len(change) > side else "edge")
    around = np.stack([padded[k : k + len(change)] for k in range(2 * side + 1) if k != side])
    starts[1:] = (change > _CUT_MIN) & (change > _CUT_RATIO * np.sort(around, axis=0)[-2])
    return starts


def fill_gaps(
    found: Sequence[FaceFrame], shot_starts: np.ndarray, max_gap: int, others: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """((N, 468, 2) float32 landmarks, (N,) bool valid): gaps of ≤ max_gap frames inside a shot interpolated.

    Longer gaps stay NaN, and those in which somebody else is seen: others (N,) bool, whose faces are left out. Raises
    NoFaceError when no frame shows a face.
    """
    others = np.zeros(len(found), bool) if others is None else others
    valid = np.array([f.landmarks is not None for f in found], bool) & ~others
    if not valid.any():
        raise NoFaceError(
            f"no face found in any of {len(found)} frames; use a clip in which the face is seen from the front"
        )
    landmarks = np.full((len(found), LANDMARK_COUNT, 2), np.nan, np.float32)
    for i in np.flatnonzero(valid):
        landmarks[i] = found[int(i)].landmarks
    for start, stop in runs(~valid):
        before, after = start - 1, stop
        if stop - start > max_gap or others[start:stop].any():
            continue
        known_before = before >= 0 and not shot_starts[start:stop].any()
        known_after = after < len(found) and not shot_starts[start + 1 : after + 1].any()
        if known_before and known_after:
            weights = (np.arange(start, stop) - before) / (after - before)
            landmarks[start:stop] = landmarks[before] + weights[:, None, None] * (landmarks[after] - landmarks[before])
        elif known_before:
            landmarks[start:stop] = landmarks[before]
        elif known_after:
            landmarks[start:stop] = landmarks[after]
    return landmarks, valid
