"""A line of text as a picture, in any language that a font of this machine has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import OptionError


def lettering(text: str, size: int) -> np.ndarray:
    """(h, w) float32 0..1: how much of each pixel the letters cover; size: of the font, px.

    OptionError where no font has its characters, or nothing of them can be seen.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(font_for(text)), size)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    picture = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(picture).text((-left, -top), text, 255, font)
    covered = np.asarray(picture, np.float32) / 255
    if not covered.any():
        raise OptionError(f"nothing can be seen of the text {text!r}; give one with letters")
    return covered


def font_for(text: str) -> Path:
    """The first font that has all characters of a text: DejaVu Sans, which comes with matplotlib, or one installed."""
    _check_layout(text)
    own, *installed = _fonts()
    missing = sorted(set(text) - _characters(own))
    if not missing:
        return own
    for path in installed:
        if set(text) <= _characters(path):
            return path
    raise OptionError(
        f"no font here has {', '.join(map(repr, missing))} of the text {text!r}; give another text, or install a font "
        "that has all of it, such as one of Noto"
    )


def _check_layout(text: str) -> None:
    """OptionError where letters join or run to the left, and Pillow cannot lay them out."""
    from PIL import features

    joined = (unicodedata.category(one)[0] == "M" or unicodedata.bidirectional(one) in ("R", "AL") for one in text)
    if any(joined) and not features.check("raqm"):
        raise OptionError(f"Pillow cannot lay out {text!r} here; install libraqm and fribidi, or give another text")


def _fonts() -> Iterator[Path]:
    """DejaVu Sans, then what is installed, upright faces first, but for fonts of last resort, which have no letters."""
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    yield Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    found = [Path(path) for path in findSystemFonts() if not Path(path).stem.startswith("LastResort")]
    yield from sorted(found, key=lambda path: ("regular" not in path.stem.lower(), path.name))


def _characters(font: Path) -> set[str]:
    """What a font can draw in any size; nothing where its file cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        opened = FT2Font(str(font))
    except (RuntimeError, OSError):  # a damaged font, or one of another format
        return set()
    return {chr(code) for code in opened.get_charmap()} if opened.scalable else set()
