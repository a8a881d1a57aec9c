"""The built-in person: a public-domain portrait whose mouth, jaw, eyelids and head can be posed.

Units: one *unit* is one pixel of the original portrait after it has been levelled (turned until the mouth is
horizontal); the origin is the middle of the mouth, x to the right, y down. The eyes' outer corners are
`EYE_DISTANCE` units apart. All warps are inverse maps: for each output pixel they say where in the portrait to look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import UdhError

EYE_DISTANCE = 63.5
MAX_OPENING = 0.26  # inner-lip gap / eye distance of a wide "ah"
NARROWEST, WIDEST = 13.0, 20.5  # half mouth width, units, at Pose.width 0 ("oo") and 1 ("ee")
SPAN = 222.0  # units shown from side to side
_LEFT, _TOP = -111.0, -131.0  # unit coordinates of the picture's corner
_MOUTH_CENTRE = (222.8, 141.2)  # portrait px
_LEVEL_DEG = 3.0
_MIDDLE, _HALF = 0.25, 20.95  # the portrait's own (smiling) mouth: centre x and half width
_COARSE = 4  # px; the head's displacement is computed on every fourth pixel and interpolated
_PIVOT = (0.0, 45.0)  # the head turns about a point in the neck
# Edges seen in the portrait, x and y in units: the lips' inner edges (teeth between them) and the eyelids.
_UPPER_LIP = (
    (-20.7, -16, -12, -8, -4, 0, 4, 8, 12, 16, 21.2),
    (-1.0, 0.0, 0.7, 1.3, 2.0, 2.2, 1.8, 1.3, 0.2, -1.0, -1.4),
)
_LOWER_LIP = (
    (-20.7, -18, -14, -10, -5, 0, 5, 10, 14, 18, 21.2),
    (-1.0, 1.6, 4.7, 6.9, 8.3, 8.7, 8.1, 6.6, 4.3, 1.7, -1.4),
)
_LEFT_UPPER_LID = (-32.5, -30, -27, -23, -19, -16, -13, -11.5), (-38.8, -40.3, -41.8, -42.6, -42.2, -41, -39, -37.6)
_LEFT_LOWER_LID = (-32.5, -29, -25, -21, -17, -14, -11.5), (-38.8, -37.3, -36.2, -35.8, -36.0, -36.6, -37.6)
_RIGHT_UPPER_LID = (11.5, 14, 17, 21, 25, 28, 31, 33), (-37.2, -39.8, -41.6, -42.6, -42.2, -40.8, -39.2, -38.2)
_RIGHT_LOWER_LID = (11.5, 14, 18, 22, 26, 29, 33), (-37.2, -36.4, -35.6, -35.7, -36.2, -37.0, -38.2)
_LIDS = ((_LEFT_UPPER_LID, _LEFT_LOWER_LID), (_RIGHT_UPPER_LID, _RIGHT_LOWER_LID))
Points = tuple[tuple[float, ...], tuple[float, ...]]  # all x, all y


@dataclass(frozen=True)
class Pose:
    """What the person does in one frame."""

    opening: float = 0.0  # inner-lip gap / eye distance, 0 to MAX_OPENING
    width: float = 0.7  # 0 = rounded "oo", 1 = spread "ee"
    blink: float = 0.0  # 0 = eyes open, 1 = shut
    shift_x: float = 0.0  # head translation, output px
    shift_y: float = 0.0
    roll_deg: float = 0.0
    scale: float = 1.0


def _smooth(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 (x <= 0) to 1 (x >= 1), any shape."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


class _Edge:
    """A smooth curve y(x) near hand-set points, exactly through the first and the last (where two edges meet)."""

    def __init__(self, points: Points) -> None:
        x, y = np.array(points)
        self.left, self.right = float(x[0]), float(x[-1])
        t = self._place(x)
        line = np.polyfit(t, y, 5)
        first, last = np.polyval(line, t[[0, -1]]) - y[[0, -1]]
        line[-2:] -= (last - first) / 2, (last + first) / 2
        self._line = [float(c) for c in line]

    def _place(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.left) * (2 / (self.right - self.left)) - 1, -1, 1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Heights at x (any shape, units); held constant beyond the corners."""
        t = self._place(x)
        height = t * self._line[0] + self._line[1]
        for factor in self._line[2:]:
            height *= t
            height += factor
        return height


class _Patch:
    """A rectangle of the picture, with the unit coordinates of its pixels."""

    def __init__(self, box: tuple[float, float, float, float], px: float, size: int) -> None:
        left, top, right, bottom = (round((v - o) * px) for v, o in zip(box, (_LEFT, _TOP, _LEFT, _TOP), strict=True))
        self.rows, self.columns = slice(max(top, 0), min(bottom, size)), slice(max(left, 0), min(right, size))
        self.x = (np.arange(self.columns.start, self.columns.stop, dtype=np.float32)[None] + 0.5) / px + _LEFT  # (1, w)
        self.y = (np.arange(self.rows.start, self.rows.stop, dtype=np.float32)[:, None] + 0.5) / px + _TOP  # (h, 1)


@dataclass(frozen=True)
class _Mouth:
    """Where the lips are in this frame; arrays are (h, w) float32 over the mouth's patch."""

    gap: float  # units
    half_width: float  # units
    source_x: np.ndarray  # portrait x seen at each pixel
    arch: np.ndarray  # 1 in the middle of the mouth, 0 from the corners outward
    upper: np.ndarray  # y of the upper lip's edge
    lower: np.ndarray  # y of the lower lip's edge
    source_upper: np.ndarray  # the same edges in the portrait
    source_lower: np.ndarray


class Puppet:
    """Draws the person. Building one takes a tenth of a second; `draw` about ten milliseconds at 512 px."""

    def __init__(self, size: int = 512) -> None:
        if size < 128 or size % _COARSE:
            raise ValueError(f"size must be a multiple of {_COARSE} and at least 128, not {size}")
        self.size = size
        self._px = size / SPAN  # output px per unit
        self._portrait = _levelled_portrait(size)
        self._upper, self._lower = _Edge(_UPPER_LIP), _Edge(_LOWER_LIP)
        self._patch = _Patch((-62, -24, 62, 58), self._px, size)
        self._eyes = [_Eye(upper, lower, self._px, size) for upper, lower in _LIDS]
        self._head = _head_basis(size, self._px)
        self._grid = np.mgrid[0:size, 0:size].astype(np.float32)[::-1]

    def draw(self, pose: Pose) -> np.ndarray:
        """One frame, (size, size, 3) uint8 RGB."""
        picture = self._portrait.copy()
        if pose.blink > 0:
            for eye in self._eyes:
                self._look(picture, eye.patch, eye.patch.x, eye.shut(pose.blink))
        mouth = self._place_lips(pose)
        source_y = self._skin_rows(mouth)
        patch = self._patch
        self._look(picture, patch, mouth.source_x, source_y)
        skin = picture[patch.rows, patch.columns]
        skin[:] = self._fill_mouth(skin, mouth)
        return self._move_head(picture, pose)

    def _look(self, picture: np.ndarray, patch: _Patch, x: np.ndarray, y: np.ndarray) -> None:
        """Replace a patch of `picture` by what the portrait shows at (x, y), units."""
        picture[patch.rows, patch.columns] = self._sample(x, y)

    def _sample(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8: the portrait at (x, y), units."""
        map_y = ((y - _TOP) * self._px - 0.5).astype(np.float32)
        map_x = np.broadcast_to(((x - _LEFT) * self._px - 0.5).astype(np.float32), map_y.shape)
        return cv2.remap(self._portrait, np.ascontiguousarray(map_x), map_y, cv2.INTER_CUBIC)

    def _place_lips(self, pose: Pose) -> _Mouth:
        """Corners, then the two lip edges, of this pose."""
        gap = float(np.clip(pose.opening, 0.0, 1.5 * MAX_OPENING)) * EYE_DISTANCE
        half = NARROWEST + (WIDEST - NARROWEST) * float(np.clip(pose.width, 0.0, 1.0))
        x, y = self._patch.x - _MIDDLE, self._patch.y
        u = np.abs(x) / half
        pull = np.sign(x) * u * np.exp((1 - u * u) / 3.1)  # 1 in the corners, fading into the cheeks
        reach = 6.0 + 9.0 * _smooth((np.abs(x) - 12.0) / 10.0)  # the folds beside the mouth follow, the nose does not
        height = np.where(y < 0, np.maximum(-4.0 - y, 0) / reach, np.maximum(y - 12.0 - gap, 0) / 20.0)
        source_x = _MIDDLE + x + (_HALF - half) * pull * np.exp(-height * height)
        square = np.clip((source_x - _MIDDLE) / _HALF, -1, 1) ** 2
        arch, bow = 1 - square, 1 - square * square
        rounding = (WIDEST - half) / (WIDEST - NARROWEST)
        corner = 1.8 + 2.7 * rounding + 0.12 * gap  # a narrow or open mouth smiles less: its corners sink
        sink = 2.0 + 1.0 * rounding - 0.2 * gap - corner  # the upper lip covers half of the teeth at rest
        fade = np.exp(-((np.maximum(np.abs(x) - half, 0) / 13.0) ** 2))
        source_upper, source_lower = self._upper(source_x), self._lower(source_x)
        upper = source_upper + corner * fade + sink * arch
        lower = upper + gap * (bow + 0.4 * (1 - rounding) * (arch - bow))
        return _Mouth(gap, half, source_x, arch, upper, lower, source_upper, source_lower)

    def _skin_rows(self, mouth: _Mouth) -> np.ndarray:
        """Portrait y seen at each pixel of the mouth's patch, (h, w): lips, jaw and chin moved, the rest in place."""
        x, y = self._patch.x, self._patch.y
        upper_edge, lower_edge = mouth.source_upper, mouth.source_lower
        above = np.maximum(mouth.upper - y, 0)
        top = y - (mouth.upper - upper_edge) * (1 - _smooth((above - 3.5) / 9.0))
        below = np.maximum(y - mouth.lower, 0)
        jaw = (0.5 * mouth.gap - 1.5) * np.exp(-((x / 38.0) ** 2))
        to_chin = _smooth((below - 4.0) / 19.0)
        in_neck = _smooth((y - 36.0 - jaw) / 14.0)
        bottom = y - ((mouth.lower - lower_edge) * (1 - to_chin) + jaw * to_chin) * (1 - in_neck)
        middle = (mouth.upper + mouth.lower) / 2
        return np.where(y < middle, np.minimum(top, upper_edge - 0.3), np.maximum(bottom, lower_edge + 0.3))

    def _fill_mouth(self, skin: np.ndarray, mouth: _Mouth) -> np.ndarray:
        """The skin patch (h, w, 3) uint8 with the cavity where the lips part, and a dark line where they meet."""
        rows, columns = _bounds(mouth, self._patch, 3.0)
        x, y = self._patch.x[:, columns], self._patch.y[rows]
        upper, lower = mouth.upper[rows, columns], mouth.lower[rows, columns]
        window = skin[rows, columns].astype(np.float32)
        inside = np.clip((np.minimum(y - upper, lower - y)) * self._px * 0.6 + 0.5, 0, 1)
        inside *= np.clip((lower - upper) * self._px * 0.5, 0, 1)
        line = np.exp(-(((y - (upper + lower) / 2) / 0.75) ** 2)) * _smooth(mouth.arch[rows, columns] * 5)
        line *= 0.6 * np.exp(-lower + upper)
        cavity = self._cavity(mouth, x, y, upper, lower)
        window *= 1 - line[..., None] * np.array([0.75, 0.9, 0.9], np.float32)
        window += inside[..., None] * (cavity - window)
        filled = skin.copy()
        filled[rows, columns] = np.clip(window + 0.5, 0, 255).astype(np.uint8)
        return filled

    def _cavity(self, mouth: _Mouth, x: np.ndarray, y: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """What is seen between the lips, (h, w, 3) float32 0 to 255: dark throat, tongue, lower teeth, upper teeth."""
        offset = x - _MIDDLE
        depth = np.clip((y - upper) / max(mouth.gap, 1.0), 0, 1)[..., None]
        picture = np.array([26, 9, 10], np.float32) + depth * np.array([34, 13, 12], np.float32)
        floor = float(lower.max())
        dome = np.hypot(offset / (0.72 * mouth.half_width), (y - floor - 1.0) / (1.0 + 0.48 * mouth.gap))
        tongue = np.array([176, 92, 90], np.float32) * (1.05 - 0.55 * np.clip(dome, 0, 1))[..., None]
        picture += (_smooth((1.0 - dome) / 0.25) * min(mouth.gap / 8.0, 1.0) * 0.85)[..., None] * (tongue - picture)
        for teeth, alpha in (self._lower_teeth(mouth, x, y, lower), self._upper_teeth(x, y)):
            picture += alpha[..., None] * (teeth - picture)
        shadow = 0.5 + 0.5 * _smooth((y - upper) / 3.0) * _smooth((lower - y + 1.0) / 2.5)
        side = 1 - 0.55 * _smooth((np.abs(offset) / mouth.half_width - 0.45) / 0.55)
        return picture * (shadow * side * (0.72 + 0.28 * mouth.half_width / WIDEST))[..., None]

    def _upper_teeth(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Her own teeth, fixed to the skull: colour (h, w, 3) float32 and alpha (h, w)."""
        source_y = 2.4 + (y - 2.4) / 0.88
        top, edge = self._upper(x), self._lower(x) - 0.9
        colour = self._sample(x, np.clip(source_y, top + 1.4, edge + 0.2)).astype(np.float32)
        return colour, np.clip((edge - source_y) / 0.7 + 0.5, 0, 1) * _smooth((15.5 - np.abs(x)) / 2.5)

    def _lower_teeth(
        self, mouth: _Mouth, x: np.ndarray, y: np.ndarray, lower: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The upper teeth upside down and smaller, carried by the jaw: colour (h, w, 3) float32 and alpha (h, w)."""
        wide = x * 1.35
        edge = self._lower(wide) - 1.0
        middle = _smooth((10.5 - np.abs(x)) / 6.0)
        rise = min(max(0.28 * (mouth.gap - 5.0), 0.0), 2.8)
        under = y - lower + rise * middle
        colour = self._sample(wide, np.clip(edge - 1.2 * under, self._upper(wide) + 1.6, edge)).astype(np.float32)
        alpha = np.clip(under / 0.8 + 0.5, 0, 1) * middle * min(rise / 1.5, 1.0)
        return colour * np.array([0.86, 0.8, 0.74], np.float32), alpha

    def _move_head(self, picture: np.ndarray, pose: Pose) -> np.ndarray:
        """Turn, zoom and shift the head about the neck; shoulders and background stay."""
        angle, zoom = math.radians(pose.roll_deg), 1.0 / pose.scale
        a, b = zoom * math.cos(angle) - 1.0, zoom * math.sin(angle)
        shift_x, shift_y = pose.shift_x, pose.shift_y
        move = np.array(
            [[a, b, -(a + 1) * shift_x - b * shift_y], [-b, a, b * shift_x - (a + 1) * shift_y]], np.float32
        )
        coarse = (move @ self._head).reshape(2, self.size // _COARSE, -1)
        maps = [cv2.resize(m, (self.size, self.size)) + grid for m, grid in zip(coarse, self._grid, strict=True)]
        return cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class _Eye:
    """One eye's lids."""

    def __init__(self, upper: Points, lower: Points, px: float, size: int) -> None:
        self._upper, self._lower = _Edge(upper), _Edge(lower)
        self.patch = _Patch((self._upper.left - 2, -60.0, self._upper.right + 2, -30.0), px, size)

    def shut(self, blink: float) -> np.ndarray:
        """Portrait y seen at each pixel of the patch, (h, w), with the upper lid lowered by `blink` (0 to 1)."""
        x, y = self.patch.x, self.patch.y
        edge = self._upper(x)
        drop = 0.95 * min(blink, 1.0) * (self._lower(x) - edge)
        above = np.maximum(edge + drop - y, 0)
        lid = np.minimum(y - drop * (1 - _smooth((above - 2.2) / 12.0)), edge - 0.1)
        return np.where(y < edge + drop, lid, y)


def _bounds(mouth: _Mouth, patch: _Patch, margin: float) -> tuple[slice, slice]:
    """The rows and columns of the mouth's patch that the opening can touch (`margin` units around it)."""
    shown = mouth.arch > 0
    top, bottom = float(mouth.upper[shown].min()) - margin, float(mouth.lower[shown].max()) + margin
    xs, ys = patch.x[0], patch.y[:, 0]
    left, right = _MIDDLE - mouth.half_width - margin, _MIDDLE + mouth.half_width + margin
    rows, columns = np.searchsorted(ys, [top, bottom]), np.searchsorted(xs, [left, right])
    return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))


def _levelled_portrait(size: int) -> np.ndarray:
    """The portrait turned level, cropped to the head and resized: (size, size, 3) uint8 RGB."""
    try:
        from skimage.data import astronaut  # heavy import, only the built-in person needs it
    except ImportError as e:
        raise UdhError("the built-in person needs scikit-image: pip install scikit-image") from e
    cos, sin = math.cos(math.radians(_LEVEL_DEG)), math.sin(math.radians(_LEVEL_DEG))
    turn = np.array([[cos, -sin], [sin, cos]]) / (size / SPAN)
    corner = np.array([_LEFT, _TOP]) * (size / SPAN) + 0.5
    offset = turn @ corner + np.array(_MOUTH_CENTRE)
    inverse = np.hstack([turn, offset[:, None]])
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(astronaut(), inverse, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _head_basis(size: int, px: float) -> np.ndarray:
    """(3, n) float32: weight*x, weight*y, weight (px about the pivot) on a grid of every _COARSE-th pixel.

    The weight is 1 on the head and 0 far from it, so that only the head moves.
    """
    y, x = np.mgrid[0 : size // _COARSE, 0 : size // _COARSE].astype(np.float32) * _COARSE + (_COARSE - 1) / 2
    unit_x, unit_y = (x + 0.5) / px + _LEFT, (y + 0.5) / px + _TOP
    beyond = np.hypot(unit_x / 82.0, (unit_y + 52.0) / 80.0) - 1.0  # an ellipse around hair and chin
    weight = (1 - _smooth(beyond / 0.35)) * (1 - _smooth((unit_y - 36.0) / 42.0))
    pivot_x, pivot_y = ((p - o) * px for p, o in zip(_PIVOT, (_LEFT, _TOP), strict=True))
    rows = [weight * (x - pivot_x), weight * (y - pivot_y), weight]
    return np.stack([row.ravel() for row in rows]).astype(np.float32)
