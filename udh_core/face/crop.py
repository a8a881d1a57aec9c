"""The only pixel arithmetic: landmarks → aligned crop, masks, paste back. No torch in here.

Face units: origin between the outer eye corners, x to the image's right, y down, 1 = distance of the outer eye corners.
The crop is a square of face units, so it shows the same part of every face; it is aligned by points only that speech
does not move.

Convention: transforms are (2, 3) similarities that map source px → crop px, (x, y) as columns; the centre of pixel 0 is
at 0, as in OpenCV. Frames and crops are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from ..errors import FormatError, OptionError
from .mask import FEATHER, MARGIN, Reach
from .similarity import similarities
from .smoothing import smooth_known
from .topology import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, STABLE_POINTS

SIZES = (160, 256, 320, 512)
SMOOTH_S = 0.048  # standard deviation of the smoothing of transforms: 1.2 frames at 25 fps
_STABLE_PLACES = np.array(
    [
        *[(-0.5, 0.0), (-0.19, 0.021), (0.19, 0.021), (0.5, 0.0)],  # eye corners
        *[(0.0, -0.049), (0.0, 0.047), (0.0, 0.129), (0.0, 0.203)],  # nose bridge
        *[(-0.76, 0.026), (0.76, 0.026), (-0.753, -0.135), (0.753, -0.135)],  # temples
    ],
    np.float32,
)
_SIDE = 1.9  # of the crop, face units
_LEFT, _TOP = -0.95, -0.32  # its upper left corner


@dataclass(frozen=True)
class CropSpec:
    """The aligned square the generator redraws, `size` px wide; everything else follows in face units."""

    size: int = 256
    layout: int = 1  # raised when the constants of this file change what a crop shows
    reach: Reach = Reach()  # of the mask

    def __post_init__(self) -> None:
        if self.size % 32 or not 96 <= self.size <= 512:
            raise OptionError(f"crop size {self.size}: choose a multiple of 32 from 96 to 512, such as {SIZES}")
        if self.layout != 1:
            raise FormatError(f"crop layout {self.layout} is of a newer version of this program; update it")

    @property
    def view(self) -> tuple[int, int]:
        """Crops of the same view show the same, whatever is redrawn in them."""
        return self.size, self.layout

    @property
    def px_per_unit(self) -> float:
        """Crop px per distance of the outer eye corners."""
        return self.size / _SIDE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> CropSpec:
        """From JSON; KeyError, TypeError or ValueError when it holds something else."""
        size, layout, reach = values["size"], values["layout"], values.get("reach", {})
        if type(size) is not int or type(layout) is not int:
            raise ValueError("size and layout of a crop are whole numbers")
        return CropSpec(size, layout, Reach.from_dict(reach))


def to_crop_px(places: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(…, 2) face units → crop px."""
    return (places - np.array([_LEFT, _TOP], np.float32)) * spec.px_per_unit


def align(landmarks: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(N, 2, 3) float32 similarities, source px → crop px, from landmarks (N, 468, 2) in source px; NaN where they are.

    Of the least squares, from STABLE_POINTS to their mean places.
    """
    return similarities(landmarks[:, STABLE_POINTS], to_crop_px(_STABLE_PLACES, spec))


def smooth(transforms: np.ndarray, shot_starts: np.ndarray, spec: CropSpec, fps: float) -> np.ndarray:
    """(N, 2, 3) float32 transforms smoothed over time by a Gaussian of SMOOTH_S, never across a cut.

    transforms: (N, 2, 3) source px → crop px; NaN rows stay NaN and leave their neighbours as they are.
    shot_starts: (N,) bool. Where the crop's centre lies in the source, the log scale and the angle are smoothed: matrix
    entries would couple.
    """
    half = spec.size / 2
    matrix = transforms.astype(np.float64)
    inverse = np.linalg.inv(np.where(np.isfinite(matrix[:, :, :2]), matrix[:, :, :2], np.eye(2)))
    centre = np.einsum("nij,nj->ni", inverse, half - matrix[:, :, 2])
    angle = np.unwrap(np.nan_to_num(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])))
    scale = np.log(np.hypot(matrix[:, 0, 0], matrix[:, 1, 0]))
    values = np.column_stack([centre, scale, angle])
    known = np.isfinite(matrix[:, 0, 0])
    x, y, log_scale, turn = smooth_known(values, known, np.cumsum(shot_starts), SMOOTH_S * fps, truncate=3.0).T
    a, b = np.exp(log_scale) * np.cos(turn), np.exp(log_scale) * np.sin(turn)
    out = np.stack([a, -b, half - (a * x - b * y), b, a, half - (b * x + a * y)], -1).reshape(-1, 2, 3)
    out[~known] = np.nan
    return out.astype(np.float32)


def eye_distance(landmarks: np.ndarray) -> np.ndarray:
    """(…,) float32 px between the outer corners of the eyes, from (…, 468, 2): one face unit."""
    return np.linalg.norm(landmarks[..., LEFT_EYE_OUTER, :] - landmarks[..., RIGHT_EYE_OUTER, :], axis=-1)


def crop(frame: np.ndarray, transform: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(S, S, 3) uint8 RGB crop of a frame (H, W, 3) uint8 RGB; shrinks with averaging so that nothing aliases."""
    return square(frame, transform, spec.size)


def square(frame: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of a frame (H, W, 3) uint8 RGB, in the place that a transform (2, 3) gives.

    Convention: transform (2, 3) maps source px → crop px, pixel centres at whole numbers. Bicubic; where the crop is
    coarser than the frame by 1.75 or more, the frame is first averaged by the whole factor (INTER_AREA). Beyond the
    frame its border is repeated.
    """
    transform = transform.astype(np.float64)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    shrink = _whole_shrink(1.0 / scale)
    if shrink >= 2:
        frame, offset = _shrunk_region(frame, transform, size, shrink)
        grow = np.array([[shrink, 0, offset[0]], [0, shrink, offset[1]], [0, 0, 1]])
        transform = transform @ grow
    flags = cv2.INTER_CUBIC
    return cv2.warpAffine(frame, transform, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def shrinks(transforms: np.ndarray) -> np.ndarray:
    """(N,) bool: whether `crop` averages the frame before it takes a crop by these transforms (N, 2, 3)."""
    scales = np.nan_to_num(np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]), nan=1.0)
    return np.array([_whole_shrink(1 / scale) > 1 for scale in scales], bool)


def _whole_shrink(times: float) -> int:
    """The factor to average by, so that what then shrinks `times` as a whole does not alias: 2 from 1.75 times on."""
    return int(times + 0.25)


def _shrunk_region(frame: np.ndarray, transform: np.ndarray, size: int, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the frame under the crop, shrunk by a whole factor, and the source place of its pixel 0."""
    x0, y0, x1, y1 = _source_box(frame.shape, transform, ((0, 0), (size, size)), margin=4 * shrink)
    x1, y1 = x0 + max((x1 - x0) // shrink, 1) * shrink, y0 + max((y1 - y0) // shrink, 1) * shrink
    region = frame[y0:y1, x0:x1]
    small_size = (max(region.shape[1] // shrink, 1), max(region.shape[0] // shrink, 1))
    small = cv2.resize(region, small_size, interpolation=cv2.INTER_AREA)
    return small, np.array([x0, y0]) + (shrink - 1) / 2


def source_part(shape: tuple[int, ...], transform: np.ndarray, spec: CropSpec) -> tuple[slice, slice]:
    """Rows and columns of a frame of shape (H, W, …), H and W even, that hold what `crop` looks at; even as well."""
    transform = transform.astype(np.float64)
    shrink = max(_whole_shrink(1 / float(np.hypot(transform[0, 0], transform[1, 0]))), 1)
    return _even(_source_box(shape, transform, ((0, 0), (spec.size, spec.size)), margin=4 * shrink))


def changes(part: tuple[slice, slice], transform: np.ndarray, spec: CropSpec) -> bool:
    """Whether `paste` or `paste_planes` may change a pixel in these rows and columns of a frame, or two px beside."""
    top, left = (edge.start - 2 for edge in part)
    to_region = transform.astype(np.float64) @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    height, width = (edge.stop - edge.start + 4 for edge in part)
    return bool(_alpha(to_region, (width, height), spec, FEATHER, None).any())


def _even(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """Rows and columns of x0, y0, x1, y1, widened to even numbers."""
    x0, y0, x1, y1 = box
    return slice(y0 // 2 * 2, -(-y1 // 2) * 2), slice(x0 // 2 * 2, -(-x1 // 2) * 2)


def _source_box(
    shape: tuple[int, ...], transform: np.ndarray, box: tuple[tuple[float, float], tuple[float, float]], margin: int
) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the source pixels under a box of crop px, cut to a frame of shape (H, W, …) (never empty)."""
    (left, top), (right, bottom) = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    places = (corners - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    low = np.floor(places.min(0)).astype(int) - margin
    high = np.ceil(places.max(0)).astype(int) + margin + 1
    height, width = shape[:2]
    x0, y0 = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    return x0, y0, int(np.clip(high[0], x0 + 1, width)), int(np.clip(high[1], y0 + 1, height))


def _mask_depth(spec: CropSpec) -> np.ndarray:
    """(S, S) float32: about how far inside the mask's border a pixel lies, face units; negative outside."""
    axis = (np.arange(spec.size, dtype=np.float32) + 0.5) / spec.px_per_unit
    x, y = np.meshgrid(axis + _LEFT, axis + _TOP)
    return spec.reach.depth(x, y)


@lru_cache(maxsize=8)
def mask(spec: CropSpec, feather: float = FEATHER) -> np.ndarray:
    """(S, S) float32 0..1, 1 = redraw: what of the generated crop goes into the frame, feathered inside its border."""
    ramp = np.clip(_mask_depth(spec) / feather, 0.0, 1.0)
    result = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    result.flags.writeable = False
    return result


@lru_cache(maxsize=8)
def hidden(spec: CropSpec) -> np.ndarray:
    """(S, S) bool: what the generator never sees of the frame it edits — the mask and a margin around it."""
    result = _mask_depth(spec) > -MARGIN
    result.flags.writeable = False
    return result


@lru_cache(maxsize=8)
def mask_box(spec: CropSpec, multiple: int = 1) -> tuple[slice, slice]:
    """Rows and columns of the crop that hold the hidden area, widened to a multiple of px."""
    rows, columns = (np.flatnonzero(hidden(spec).any(axis)) for axis in (1, 0))

    def widen(index: np.ndarray) -> slice:
        stop = -(-int(index[-1] + 1) // multiple) * multiple
        return slice(int(index[0]) // multiple * multiple, min(stop, spec.size))

    return widen(rows), widen(columns)


def description(spec: CropSpec) -> dict[str, Any]:
    """What another program needs to align, hide and paste as this file does, with `mask.FORMULA`; plain for JSON."""
    rows, columns = mask_box(spec)
    return {
        "size": spec.size,
        "layout": spec.layout,
        "side_in_face_units": _SIDE,
        "corner_in_face_units": [_LEFT, _TOP],
        "landmarks": "MediaPipe face mesh",
        "aligned_by": {"points": list(STABLE_POINTS), "places": _STABLE_PLACES.astype(float).round(4).tolist()},
        "mask": spec.reach.description(),
        "mask_box": {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]},
    }


def mouth_window(spec: CropSpec) -> tuple[slice, slice]:
    """Rows and columns of the crop that a SyncNet looks at: lips and chin, 3 wide to 2 high."""
    top, bottom = to_crop_px(np.array([[0.0, 0.50], [0.0, 1.18]], np.float32), spec)[:, 1]
    left, right = to_crop_px(np.array([[-0.51, 0.0], [0.51, 0.0]], np.float32), spec)[:, 0]
    return slice(round(float(top)), round(float(bottom))), slice(round(float(left)), round(float(right)))


def paste(
    frame: np.ndarray,
    patch: np.ndarray,
    transform: np.ndarray,
    spec: CropSpec,
    feather: float = FEATHER,
    occluder: np.ndarray | None = None,
) -> np.ndarray:
    """The frame (H, W, 3) uint8 with the generated crop (S, S, 3) uint8, or larger, blended in at sub-pixel accuracy.

    Only pixels under the mask change; all others are the input's own bytes. So are those where `occluder` (S, S)
    float32, 0..1 of the crop, is 1: what lies before the face stays there.
    Convention: transform (2, 3) maps source px → crop px, as for `crop`, and is inverted here; pixel centres at whole
    numbers. The patch is sampled bicubically with its border repeated, and averaged first by the whole factor where it
    is finer than the frame by 1.75 or more; the mask is sampled linearly, 0 beyond its border.
    """
    transform = transform.astype(np.float64)
    x0, y0, x1, y1 = _source_box(frame.shape, transform, _mask_corners(spec), margin=2)
    to_region = transform @ np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    size = (x1 - x0, y1 - y0)
    alpha = _alpha(to_region, size, spec, feather, occluder)[..., None]
    drawn = _warped(patch, _resized(to_region, len(patch) / spec.size), size).astype(np.float32)
    region = frame[y0:y1, x0:x1]
    blended = np.rint(region + alpha * (drawn - region)).astype(np.uint8)
    result = frame.copy()
    result[y0:y1, x0:x1] = np.where(alpha > 0, blended, region)
    return result


def paste_planes(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    patch: tuple[np.ndarray, np.ndarray, np.ndarray],
    transform: np.ndarray,
    spec: CropSpec,
    feather: float = FEATHER,
    occluder: np.ndarray | None = None,
) -> None:
    """`paste` in place, into Y (H, W), U and V (H / 2, W / 2) uint8 or uint16, of a patch (S, S) float32 in each.

    H and W are even. The mask of a place in U and V is the mean of its four pixels': where it touches none of them the
    place stays as it is. U and V lie in the middle of four pixels, where libav's conversion to RGB has them.
    """
    transform = transform.astype(np.float64)
    rows, columns = _even(_source_box(planes[0].shape, transform, _mask_corners(spec), margin=2))
    to_region = transform @ np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1]])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    alpha, times = _alpha(to_region, size, spec, feather, occluder), len(patch[0]) / spec.size
    _blend(planes[0][rows, columns], _warped(patch[0], _resized(to_region, times), size), alpha)
    half = (size[0] // 2, size[1] // 2)
    coarse = cv2.resize(alpha, half, interpolation=cv2.INTER_AREA)
    to_half = to_region @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    rows, columns = slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
    for plane, drawn in zip(planes[1:], patch[1:], strict=True):
        _blend(plane[rows, columns], _warped(drawn, _resized(to_half, times), half), coarse)


def mask_in_frame(
    shape: tuple[int, int], transform: np.ndarray, spec: CropSpec, feather: float, occluder: np.ndarray | None
) -> np.ndarray:
    """(H, W) float32 0..1: with what weight `paste` blends a crop into each pixel of a frame of shape (H, W)."""
    return _alpha(transform.astype(np.float64), (shape[1], shape[0]), spec, feather, occluder)


def box_in_frame(shape: tuple[int, ...], transform: np.ndarray, spec: CropSpec) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 px of the crop in a frame of shape (H, W, …), cut to the frame."""
    return _source_box(shape, transform.astype(np.float64), ((0, 0), (spec.size, spec.size)), margin=0)


def redrawn_box(shape: tuple[int, ...], transform: np.ndarray, spec: CropSpec) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 px that `paste` may change in a frame of shape (H, W, …), cut to the frame."""
    return _source_box(shape, transform.astype(np.float64), _mask_corners(spec), margin=2)


def _mask_corners(spec: CropSpec) -> tuple[tuple[float, float], tuple[float, float]]:
    """Left, top and right, bottom of `mask_box`."""
    rows, columns = mask_box(spec)
    return (columns.start, rows.start), (columns.stop, rows.stop)


def _alpha(
    to_region: np.ndarray, size: tuple[int, int], spec: CropSpec, feather: float, occluder: np.ndarray | None
) -> np.ndarray:
    """(h, w) float32 0..1: the mask, without the occluder, in a region of `size` (w, h), whose px → crop px."""
    redraw = mask(spec, feather) if occluder is None else mask(spec, feather) * (1 - occluder)
    return cv2.warpAffine(redraw, to_region, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _resized(to_crop: np.ndarray, times: float) -> np.ndarray:
    """(2, 3): px → px of a crop that shows the same in `times` as many px a side, of px → crop px."""
    return to_crop * times + np.array([[0, 0, (times - 1) / 2]] * 2)  # pixel centres lie at whole numbers


def _warped(patch: np.ndarray, to_region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A crop (S, S[, 3]) in a region of `size` (w, h), in its own type; to_region: px of the region → crop px."""
    patch, to_patch = _shrunk_patch(patch, to_region)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(patch, to_patch, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _blend(region: np.ndarray, drawn: np.ndarray, alpha: np.ndarray) -> None:
    """Mix (h, w) float32 into (h, w) uint8, or 10 bits in uint16, in place; where alpha is 0 the region stays."""
    peak = 255 if region.dtype == np.uint8 else 1023
    region[:] = np.rint(np.clip(region + alpha * (drawn - region), 0, peak))


def _shrunk_patch(patch: np.ndarray, to_crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A crop (S, S[, 3]) shrunk by a whole factor where it is that much finer than what it is warped to.

    to_crop (2, 3): px of the target → crop px; given back for the shrunk crop.
    """
    shrink = _whole_shrink(float(np.hypot(to_crop[0, 0], to_crop[1, 0])))
    if shrink < 2:
        return patch, to_crop
    beyond = -len(patch) % shrink
    whole = cv2.copyMakeBorder(patch, 0, beyond, 0, beyond, cv2.BORDER_REPLICATE)
    side = len(whole) // shrink
    small = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
    middle = np.array([[0, 0, (shrink - 1) / 2]] * 2)  # of the first px that pixel 0 replaces
    return small, (to_crop - middle) / shrink


def seen_from(transform: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """(2, 3) float64: the transform of a frame for the part of it that begins at `corner` (2,), x and y in px."""
    moved = transform.astype(np.float64)
    moved[:, 2] += moved[:, :2] @ corner
    return moved


def to_face_units(points: np.ndarray, transforms: np.ndarray, spec: CropSpec) -> np.ndarray:
    """(N, P, 2) source px → face units, by the transforms (N, 2, 3) of their frames."""
    return in_crop(points, transforms) / spec.px_per_unit + np.array([_LEFT, _TOP], np.float32)


def in_crop(points: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """(N, P, 2) source px → crop px, by the transforms (N, 2, 3) of their frames."""
    return np.einsum("nij,nkj->nki", transforms[:, :, :2], points) + transforms[:, None, :, 2]
