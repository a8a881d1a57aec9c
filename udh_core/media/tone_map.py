"""HDR and wide-gamut pictures shown on a BT.709 screen: one table from the stored RGB to that of the screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc

HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
WHITE_NITS = 203.0  # of white paper (ITU-R BT.2408); it becomes the screen's white, as far as KNEE lets it
HLG_PEAK_NITS = 1000.0  # of the reference display (BT.2100), whose system gamma is 1.2
HLG_GAMMA = 1.2
SCREEN_GAMMA = 2.4  # BT.1886
KNEE = 0.85  # of white: below it light stays as it is, above it highlights are compressed into what is left
CODES = 4096  # of the table from light to a stored HDR picture; between them it is interpolated
MOST_BENT = 0.99  # of what lies above the knee; all of it would be infinite light
GRID = 49  # nodes of the table on each axis; between them libav interpolates
# Chromaticities x, y of red, green, blue; white is D65 in all of them.
BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
PRIMARIES = {
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)


def dynamic_range(trc: int) -> str:
    """ "HLG" or "PQ"; "" for the transfer function of an ordinary picture."""
    return HDR.get(trc, "")  # type: ignore[call-overload]


def is_wide(primaries: int) -> bool:
    """Whether the colours reach beyond BT.709's."""
    return primaries in PRIMARIES


def write_table(path: Path, trc: int, primaries: int) -> None:
    """Write the table for the transfer function and primaries of a picture as a .cube file, which libav reads."""
    steps = np.linspace(0.0, 1.0, GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")  # red runs fastest
    shown = to_screen(np.stack([red, green, blue], -1).reshape(-1, 3), trc, primaries)
    rows = "\n".join(f"{r:.5f} {g:.5f} {b:.5f}" for r, g, b in shown.tolist())
    path.write_text(f"LUT_3D_SIZE {GRID}\n{rows}\n", encoding="ascii")


def to_screen(stored: np.ndarray, trc: int, primaries: int) -> np.ndarray:
    """(n, 3) RGB 0..1 as stored → (n, 3) RGB 0..1 for a BT.709 screen. Light 1.0 is white."""
    kind = dynamic_range(trc)
    if kind == "PQ":
        light = pq_nits(stored) / WHITE_NITS
    elif kind == "HLG":
        light = hlg_nits(stored) / WHITE_NITS
    else:
        light = stored**SCREEN_GAMMA
    light = np.maximum(light @ _to_bt709(kind, primaries).T, 0.0)
    return np.clip(compressed(light) if kind else light, 0.0, 1.0) ** (1 / SCREEN_GAMMA)


def from_screen(shown: np.ndarray, trc: int, primaries: int) -> np.ndarray:
    """The inverse of `to_screen`: (n, 3) RGB 0..1 for a BT.709 screen → (n, 3) RGB 0..1 as stored.

    What shows white there may be anything brighter; it becomes what just reaches white.
    """
    kind = dynamic_range(trc)
    light = shown**SCREEN_GAMMA
    light = np.maximum((expanded(light) if kind else light) @ np.linalg.inv(_to_bt709(kind, primaries)).T, 0.0)
    if not kind:
        return np.clip(light, 0.0, 1.0) ** (1 / SCREEN_GAMMA)
    codes = np.linspace(0.0, 1.0, CODES)
    nits = pq_nits(codes) if kind == "PQ" else hlg_nits(codes)
    return np.interp(light * WHITE_NITS, nits, codes)


def _to_bt709(kind: str, primaries: int) -> np.ndarray:
    """(3, 3): light of these primaries → light of BT.709's."""
    untagged = bool(kind) and primaries == ColorPrimaries.UNSPECIFIED  # HDR comes in those of BT.2020 (BT.2100)
    own = PRIMARIES.get(ColorPrimaries.BT2020 if untagged else primaries, BT709)  # type: ignore[call-overload]
    return np.linalg.inv(to_xyz(BT709)) @ to_xyz(own)


def pq_nits(stored: np.ndarray) -> np.ndarray:
    """The EOTF of SMPTE ST 2084: code 0..1 → cd/m²."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = stored ** (1 / m2)
    return 10000.0 * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_nits(stored: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 on its reference display: codes 0..1 → cd/m².

    The system gamma is applied to each channel, as converters of SDR to HLG do (zimg), so that a picture that was made
    of SDR gets its saturation back; applied to the luminance alone it takes an eighth of that.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(stored <= 0.5, stored**2 / 3, (np.exp((stored - c) / a) + b) / 12)
    return HLG_PEAK_NITS * scene**HLG_GAMMA


def compressed(light: np.ndarray) -> np.ndarray:
    """(n, 3) light → at most 1: the strongest of R, G and B is bent above KNEE, the others follow in proportion."""
    peak = np.maximum(light.max(-1, keepdims=True), 1e-9)
    beyond = np.maximum(peak - KNEE, 0.0) / (1 - KNEE)
    bent = np.where(peak > KNEE, KNEE + (1 - KNEE) * beyond / (1 + beyond), peak)
    return light * (bent / peak)


def expanded(light: np.ndarray) -> np.ndarray:
    """The inverse of `compressed`: (n, 3) light up to 1."""
    peak = np.clip(light.max(-1, keepdims=True), 1e-9, 1.0)
    share = np.minimum(np.maximum(peak - KNEE, 0.0) / (1 - KNEE), MOST_BENT)
    straight = np.where(peak > KNEE, KNEE + (1 - KNEE) * share / (1 - share), peak)
    return light * (straight / peak)


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(3, 3): RGB of these primaries → CIE XYZ; its second row weighs R, G, B as luminance."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1.0, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)
