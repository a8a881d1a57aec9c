"""Drawings as pixels, and pixels as the content of picture files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JPEG_QUALITY = 90


def figure_to_rgb(figure: Figure) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a matplotlib figure, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def encode_picture(picture: np.ndarray, kind: Literal["png", "jpeg"] = "png") -> bytes:
    """The file content of a picture (H, W, 3) uint8 RGB."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    return cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)[1].tobytes()
