"""How the body moves beside a head that is held still: neck, collar and shoulders in aligned crops.

A crop holds the head upright, so what is below the jaw shifts, turns and grows in it as the head moves. Each crop is
registered to their mean by Gauss-Newton steps on grey levels (Lucas & Kanade 1981), over the area that is never face.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

NUMBERS = 4  # of a movement, a similarity about the crop's centre: shift to the right and down, growth, turn
_SIZE = 128  # px of the crops that are compared
_BLUR_PX = 1.2
_STEPS = 6
_DAMPING = 1e-3  # of the typical curvature: what has no texture does not move
_MOST = 0.25  # of a crop's width; what moves further is not found


@dataclass(frozen=True)
class Body:
    """What the body looks like in the mean of a clip's crops."""

    area: np.ndarray  # (128, 128) bool: never face
    mean: np.ndarray  # (128, 128, 3) float32

    @staticmethod
    def of(crops: np.ndarray, area: np.ndarray) -> Body:
        """crops (n, S, S, 3) uint8; area (S, S) bool. The mean is that of crops that were registered to a first one."""
        shrunk = cv2.resize(area.astype(np.float32), (_SIZE, _SIZE), interpolation=cv2.INTER_AREA) > 0.9
        small = [_shrunk(crop) for crop in crops]
        first = Body(shrunk, np.stack(small).mean(0))
        places = _places()
        moved = zip(small, places + np.einsum("ywxk,nk->nywx", basis(places), first._movements(small)), strict=True)
        return Body(shrunk, np.stack([_sampled(crop, there) for crop, there in moved]).mean(0))

    def movements(self, crops: np.ndarray) -> np.ndarray:
        """(n, NUMBERS) float32 from the mean to crops (n, S, S, 3) uint8, shifts in crop widths; 0 where none fits."""
        return self._movements([_shrunk(crop) for crop in crops])

    def _movements(self, small: list[np.ndarray]) -> np.ndarray:
        if not self.area.any():
            return np.zeros((len(small), NUMBERS), np.float32)
        across, down = (cv2.Sobel(self.mean, cv2.CV_32F, *axes, ksize=3, scale=_SIZE / 8) for axes in ((1, 0), (0, 1)))
        gradient, places = np.stack([across, down], -1)[self.area], _places()[self.area]  # (m, 3, 2), (m, 2)
        moves, mean = basis(places), self.mean[self.area]
        slopes = np.einsum("mcx,mxk->mck", gradient, moves).reshape(-1, NUMBERS)
        curvature = slopes.T @ slopes
        damped = curvature + _DAMPING * max(float(curvature.trace()) / NUMBERS, 1e-6) * np.eye(NUMBERS)
        solve = np.linalg.solve(damped, slopes.T).astype(np.float32)

        def difference(crop: np.ndarray, movement: np.ndarray) -> np.ndarray:
            return (_sampled(crop, places + moves @ movement) - mean).ravel()

        def movement(crop: np.ndarray) -> np.ndarray:
            found = nothing = np.zeros(NUMBERS, np.float32)
            before = now = difference(crop, nothing)
            for _ in range(_STEPS):
                found = found - solve @ now
                if np.abs(found).max() > _MOST:
                    return nothing
                now = difference(crop, found)
            return found if now @ now < before @ before else nothing

        return np.stack([movement(crop) for crop in small])


def basis(places: np.ndarray) -> np.ndarray:
    """(…, 2, NUMBERS) float32: times a movement it is how far places (…, 2), in crop widths, move right and down."""
    x, y = np.moveaxis(places.astype(np.float32) - 0.5, -1, 0)
    one, zero = np.ones_like(x), np.zeros_like(x)
    return np.stack([np.stack([one, zero, x, -y], -1), np.stack([zero, one, y, x], -1)], -2)


def below(jaw: np.ndarray, size: int, margin: float) -> np.ndarray:
    """(size, size) float32: how far each pixel lies below a line `margin` under the jaw, crop widths; or above, < 0.

    jaw (n, J, 2): places of the jaw's landmarks in n crops, crop widths. The line lies under nearly all of them, and
    goes on level at both ends.
    """
    order = np.argsort(jaw[..., 0].mean(0))
    across, lowest = jaw[:, order, 0].mean(0), np.percentile(jaw[:, order, 1], 99, axis=0)
    middles = (np.arange(size) + 0.5) / size
    return (middles[:, None] - np.interp(middles, across, lowest)[None] - margin).astype(np.float32)


def _shrunk(crop: np.ndarray) -> np.ndarray:
    """(128, 128, 3) float32 grey levels 0..1 of a crop (S, S, 3) uint8, blurred."""
    small = cv2.resize(crop, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(small, (0, 0), _BLUR_PX)


def _places() -> np.ndarray:
    """(128, 128, 2) float32 x and y of the pixels' middles, crop widths."""
    middles = (np.arange(_SIZE, dtype=np.float32) + 0.5) / _SIZE
    return np.stack(np.meshgrid(middles, middles), -1)


def _sampled(crop: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A shrunk crop at places (m, 2) or (h, w, 2) in crop widths: (m, 3) or (h, w, 3)."""
    x, y = np.moveaxis((places.astype(np.float32) * _SIZE - 0.5).reshape(-1, places.shape[-2], 2), -1, 0)
    found = cv2.remap(crop, x.copy(), y.copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(*places.shape[:-1], 3)
