"""What of a face is redrawn: an area from under the nose to under the chin, rounded like a jaw. Face units, as in crop.

How far it reaches is a person's own: what does not belong to the face is better left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OptionError

FEATHER = 0.10  # width of the blend inside the mask's border
MARGIN = 0.04  # hidden beyond the mask, so that no uncovered lip or jaw gives the answer away
_FURTHEST = {"left": 0.63, "right": 0.63, "bottom": 1.52}  # jaw corner to jaw corner, and on the neck
_TOP = 0.47  # under the nose
_TAPER = 0.25  # narrower towards the neck, as a jaw is
_POWER = 2.6
_LOWEST = 0.5  # percentile of the frames on either side: a landmark that has strayed says nothing
_BEYOND = 0.14  # face units beyond the jaw: the mask's soft border, and what a landmark errs; chosen
FORMULA = (  # with the values of `Reach.description`
    "depth = (1 − (|u|^power + |v|^power)^(1/power)) · min(left, right, radius_y), with v = (y − centre_y) / radius_y "
    "and u = x / (radius_x · (1 − taper · v)), v cut to ±1.5 there, radius_x the left one where x < 0, else the right "
    "one; t = depth / feather cut to 0..1. The mask is t²·(3 − 2t); hidden is where depth > −margin."
)


@dataclass(frozen=True)
class Reach:
    """How far the mask reaches from the middle between the eyes. As it is: over any jaw, seen from the front."""

    left: float = _FURTHEST["left"]
    right: float = _FURTHEST["right"]
    bottom: float = _FURTHEST["bottom"]

    def __post_init__(self) -> None:
        for side, most in _FURTHEST.items():
            value = getattr(self, side)
            if not (isinstance(value, float) and most / 2 <= value <= most):
                raise OptionError(f"mask {side} {value}: a number from {most / 2:g} to {most:g}, in face units")

    @staticmethod
    def of_jaw(places: np.ndarray) -> Reach:
        """Over the jaw in nearly all frames, at most as far as over any jaw; places (n, J, 2) in face units."""
        x, y = np.moveaxis(places, -1, 0)
        left, right = np.percentile(x.min(axis=1), _LOWEST), np.percentile(x.max(axis=1), 100 - _LOWEST)
        bottom = np.percentile(y.max(axis=1), 100 - _LOWEST)
        within = (
            round(float(np.clip(value + _BEYOND, most / 2, most)), 3)
            for value, most in zip((-left, right, bottom), _FURTHEST.values(), strict=True)
        )
        return Reach(*within)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Reach:
        """From JSON; TypeError or OptionError when it holds something else."""
        return Reach(**values)

    def description(self) -> dict[str, Any]:
        """The values of `FORMULA`, plain for JSON."""
        return {
            "centre_y": (_TOP + self.bottom) / 2,
            "radius_y": (self.bottom - _TOP) / 2,
            "radius_x": {"left": self.left, "right": self.right},
            "taper": _TAPER,
            "power": _POWER,
            "feather": FEATHER,
            "margin": MARGIN,
        }

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """About how far inside the mask's border places lie, face units; negative outside."""
        radius_y = (self.bottom - _TOP) / 2
        radius_x = np.where(x < 0, self.left, self.right)
        v = (y - (_TOP + self.bottom) / 2) / radius_y
        u = x / (radius_x * (1 - _TAPER * np.clip(v, -1.5, 1.5)))
        radius = (np.abs(u) ** _POWER + np.abs(v) ** _POWER) ** (1 / _POWER)
        return (1.0 - radius) * min(self.left, self.right, radius_y)
