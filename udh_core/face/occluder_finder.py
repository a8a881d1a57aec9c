"""What lies before a face (hand, cup, microphone): where a frame does not look like the rest of its clip.

The aligned crops of a clip are warped so that every landmark lies at its mean place; then speech and turning change
little, and what changes is described by a few principal components of the frames that show nothing but the face. Where
a frame differs from its best description by much more than those frames do, something lies before the face. So what
lies there for much of the clip, from about two fifths on, counts as part of the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.linalg import eigh
from scipy.ndimage import binary_fill_holes
from scipy.spatial import Delaunay

from .crop import CropSpec, mask, to_crop_px
from .occlusion import SIDE, Occluder
from .topology import LANDMARK_COUNT, LIPS

_TOP = 0.12  # face units: from under the eyes on, so that blinking does not count
_BORDER_STEP = 16  # px between the points on the crop's border, which stay where they are
_RANKS = (4, 8, 12, 20, 20)  # components, in the rounds of the fit
_FRAMES_PER_RANK = 6  # at least: fewer would describe an occluder, too
_FIRST = 0.6  # of the frames begin: those that look most like the median frame
_UNUSUAL = 3.5  # times the median deviation of a px, in the first round
_FLOOR = 6.0  # grey levels, of a px' usual deviation: noise and coding
_CERTAINLY = 5.0  # times the usual deviation: something before the face
_CAP = 1.4  # times that: more would spread to neighbours when the deviations are smoothed
_DOUBTFUL = 3.5  # times: the frame does not join those that say what is usual
_QUANTILE = 95  # of the deviations of a px: twice its usual deviation
_TOLERANCE = (12.0, 3.0)  # usual deviations at which a px counts half, in the first and in the last round
_BATCH = 32  # frames described at a time
_ROUNDS = 12  # of the description of a frame, each with less weight on what does not fit
_MIN_SHARE = 0.02  # of the mask's area: the smallest occluder


@dataclass(frozen=True)
class _Appearance:
    """What the face looks like without anything before it."""

    mean: np.ndarray  # (P · 3,) float32 grey levels
    basis: np.ndarray  # (k, P · 3) float32 orthonormal
    low: np.ndarray  # (k,) float32: least coefficients of the trusted frames
    high: np.ndarray  # (k,) float32
    usual: np.ndarray  # (P,) float32: usual deviation of a px, grey levels
    thin: np.ndarray  # (P,) bool: the px that say which description is best, a quarter

    def deviation(self, textures: np.ndarray) -> np.ndarray:
        """(n, P) float32 of textures (n, P, 3): distance from their best description, grey levels."""
        parts = [textures[start : start + _BATCH] for start in range(0, len(textures), _BATCH)]
        axes = self.basis[:, np.repeat(self.thin, 3)]
        return np.concatenate([self._deviation(part, axes, np.linalg.pinv(axes)) for part in parts])

    def _deviation(self, textures: np.ndarray, axes: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Weighted least squares, with Cauchy weights, by imputation: what does not fit is replaced, in part, by what
        was expected, and described again; the tolerance shrinks (graduated non-convexity, Blake and Zisserman 1987).

        axes: (k, T · 3) float32, the basis at the thin px; inverse: (T · 3, k) float32.
        """
        flat = textures.reshape(len(textures), -1) - self.mean
        sparse, usual = flat[:, np.repeat(self.thin, 3)], np.repeat(self.usual[self.thin], 3)
        found = np.zeros((len(textures), len(axes)), np.float32)
        for tolerance in np.geomspace(*_TOLERANCE, _ROUNDS, dtype=np.float32):
            described = found @ axes
            apart = sparse - described
            closer = described + apart / (1.0 + (apart / (tolerance * usual)) ** 2)
            found = np.clip(closer @ inverse, self.low, self.high)
        return np.linalg.norm((flat - found @ self.basis).reshape(textures.shape), axis=2)


class OccluderFinder:
    """Knows what one person's face looks like in one clip, and finds what lies before it."""

    def __init__(self, small: np.ndarray, points: np.ndarray, spec: CropSpec) -> None:
        """Of a sample of frames: small crops (n, SIDE, SIDE, 3) uint8, landmarks (n, 468, 2) in their px, finite."""
        self._grid = _Grid(points, spec)
        self._appearance = _fit(self._textures(small, points), self._grid)

    def find(self, small: np.ndarray, points: np.ndarray) -> list[Occluder | None]:
        """What lies before the face in small crops (n, SIDE, SIDE, 3) uint8 with landmarks (n, 468, 2) in their px."""
        ratio = self._appearance.deviation(self._textures(small, points)) / self._appearance.usual
        areas = (self._grid.occluded(own, _CERTAINLY) for own in ratio)
        pairs = zip(areas, points, strict=True)
        return [self._grid.occluder(area, places) if area.any() else None for area, places in pairs]

    def _textures(self, small: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n, P, 3) float32."""
        return np.stack([self._grid.texture(*frame) for frame in zip(small, points, strict=True)])


class _Grid:
    """The px that are looked at: those of the crop at the landmarks' mean places, and where a frame shows them."""

    def __init__(self, points: np.ndarray, spec: CropSpec) -> None:
        """points: (n, 468, 2) landmarks in px of the small crop."""
        mean = np.concatenate([points.mean(0), _BORDER]).astype(np.float64)
        redraw = cv2.resize(mask(spec), (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 0
        top = float(to_crop_px(np.array([0.0, _TOP], np.float32), spec)[1]) * SIDE / spec.size
        face = _filled(mean[:LANDMARK_COUNT]) & (np.arange(SIDE) >= top)[:, None]
        self.redraw, self.face = redraw, face & redraw
        self.rows, self.columns = np.nonzero(redraw | face)
        self.thin = (self.rows % 2 == 0) & (self.columns % 2 == 0)
        self.lips = _filled(mean[list(LIPS)])
        self._corners, self._weights = _barycentric(mean, np.stack([self.columns, self.rows], 1))

    def places(self, points: np.ndarray) -> np.ndarray:
        """(P, 2) float32: where in the small crop the px are, by its landmarks (468, 2)."""
        known = np.concatenate([points, _BORDER])
        return np.einsum("pk,pkx->px", self._weights, known[self._corners]).astype(np.float32)

    def texture(self, small: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(P, 3) float32: the small crop (SIDE, SIDE, 3) uint8 at its `places`."""
        places = self.places(points)[:, None]
        return (
            cv2.remap(small, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            .reshape(-1, 3)
            .astype(np.float32)
        )

    def occluded(self, ratio: np.ndarray, certainly: float) -> np.ndarray:
        """(SIDE, SIDE) bool: what lies before the face, from deviations over the usual ones (P,).

        Where there are enough px with more than `certainly`, and around them down to a half of that.
        """
        image, known = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
        image[self.rows, self.columns], known[self.rows, self.columns] = np.minimum(ratio, _CAP * certainly), 1.0
        smooth = cv2.blur(image, (3, 3)) / np.maximum(cv2.blur(known, (3, 3)), 1e-6)
        if ((smooth > certainly) & self.face).sum() < _MIN_SHARE * self.redraw.sum():
            return np.zeros((SIDE, SIDE), bool)
        perhaps = ((smooth > certainly / 2) & (known > 0)).astype(np.uint8)
        perhaps = cv2.morphologyEx(perhaps, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, labels = cv2.connectedComponents(perhaps, connectivity=4)
        certain = np.bincount(labels[(smooth > certainly) & self.face], minlength=count)
        certain[0] = 0
        enough = certain >= _MIN_SHARE * self.redraw.sum()
        return np.asarray(binary_fill_holes(enough[labels])) if enough.any() else enough[labels]

    def occluder(self, area: np.ndarray, points: np.ndarray) -> Occluder:
        """The same in the crop with these landmarks (468, 2): one px wider than what was found."""
        covered = float(area[self.lips].mean())
        places = np.rint(self.places(points)[area[self.rows, self.columns]]).astype(int)
        columns, rows = places[((places >= 0) & (places < SIDE)).all(1)].T
        seen = np.zeros((SIDE, SIDE), np.uint8)
        seen[rows, columns] = 1
        seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        return Occluder(cv2.dilate(seen, np.ones((3, 3), np.uint8)) > 0, covered)


def _fit(textures: np.ndarray, grid: _Grid) -> _Appearance:
    """From textures (n, P, 3), of which less than two fifths show something before the face.

    The frames that look most like the median frame begin; in every round those that they describe well join them.
    """
    deviation = np.linalg.norm(textures - np.median(textures, axis=0), axis=2)
    unusual = (deviation > _UNUSUAL * np.maximum(np.median(deviation, axis=0), _FLOOR)).mean(1)
    trusted = unusual <= np.quantile(unusual, _FIRST)
    appearance = _describe(textures, trusted, grid.thin, _RANKS[0])
    for rank in _RANKS[1:]:
        ratio = appearance.deviation(textures) / appearance.usual
        joined = np.array([not grid.occluded(own, _DOUBTFUL).any() for own in ratio], bool)
        trusted = joined if joined.mean() > 0.5 else trusted
        appearance = _describe(textures, trusted, grid.thin, rank)
    return appearance


def _describe(textures: np.ndarray, trusted: np.ndarray, thin: np.ndarray, rank: int) -> _Appearance:
    """Mean, principal components and usual deviations of the trusted (n,) among textures (n, P, 3)."""
    flat = textures[trusted].reshape(int(trusted.sum()), -1)
    mean = flat.mean(0)
    rank = max(1, min(rank, len(flat) // _FRAMES_PER_RANK))
    _, axes = eigh((flat - mean) @ (flat - mean).T, subset_by_index=(len(flat) - rank, len(flat) - 1))
    basis = np.linalg.qr((axes.T @ (flat - mean)).T)[0].T.astype(np.float32)
    found = (flat - mean) @ basis.T
    width = 0.1 * np.ptp(found, axis=0)
    low, high = found.min(0) - width, found.max(0) + width
    plain = _Appearance(mean, basis, low, high, np.full(textures.shape[1], _FLOOR, np.float32), thin)
    usual = np.percentile(plain.deviation(textures[trusted]), _QUANTILE, axis=0) / 2
    return _Appearance(mean, basis, low, high, np.maximum(usual, _FLOOR).astype(np.float32), thin)


def _barycentric(points: np.ndarray, px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (P, 3) of the triangles between points (n, 2) in which px (P, 2) lie, and their weights (P, 3)."""
    triangles = Delaunay(points)
    inside = triangles.find_simplex(px)
    transform = triangles.transform[inside]
    two = np.einsum("pij,pj->pi", transform[:, :2], px - transform[:, 2])
    return triangles.simplices[inside], np.column_stack([two, 1 - two.sum(1)])


def _filled(outline: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) bool: inside the convex hull of points (n, 2)."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(image, cv2.convexHull(np.rint(outline).astype(np.int32)), 1)
    return image > 0


def _border_points() -> np.ndarray:
    """(n, 2) float64 points on the border of the small crop, and its corners."""
    along = np.arange(0, SIDE, _BORDER_STEP) / (SIDE - _BORDER_STEP) * (SIDE - 1)
    edges = [np.stack([along, np.full_like(along, end)], 1) for end in (0, SIDE - 1)]
    edges += [np.stack([np.full_like(along[1:-1], end), along[1:-1]], 1) for end in (0, SIDE - 1)]
    return np.concatenate(edges)


_BORDER = _border_points()
