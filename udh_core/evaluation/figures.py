"""The one table of metrics: their names for people, units, which way is better, and how they are written.

Tables on the terminal and on pages take their rows, columns and descriptions from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .result import (
    GENERATED,
    OTHER,
    OTHER_PASTED,
    PASTED,
    REAL,
    SILENCE,
    SILENCE_PREDICTED,
    TRUE_SHAPE,
    UNCHANGED,
    VOICE,
    Evaluation,
)

EQUAL_DB = 99  # a PSNR from here on: the very same picture
MISSING = "–"
Better = Literal["higher", "lower", "1", "0", ""]
ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "1": "→ 1", "0": "→ 0", "": ""}


@dataclass(frozen=True)
class Meaning:
    """One metric for people: its name, a sentence on what it is, its unit and which way is better."""

    name: str
    words: str
    better: Better = ""
    unit: str = ""
    decimals: int = 2


@dataclass(frozen=True)
class Column:
    """One row of the evaluation, which is a column of the tables."""

    row: str
    heading: str
    part: Literal["", "floor", "ceiling"]
    words: str


@dataclass(frozen=True)
class Group:
    """Rows that answer one question, and the figures that help to."""

    title: str
    words: str
    columns: tuple[Column, ...]
    hidden: frozenset[str]  # figures that say nothing here


RECONSTRUCTION = Group(
    "Reconstruction",
    "Held-out frames driven by their own audio: the true mouth is known.",
    (
        Column(GENERATED, "generated", "", "the network, driven by the audio alone"),
        Column(TRUE_SHAPE, "true shape", "", "the network, conditioned on the true mouth shapes: its pictures at best"),
        Column(PASTED, "other frame pasted", "floor", "the mouth of a frame of another time, pasted in"),
        Column(REAL, "real", "ceiling", "the untouched frames"),
    ),
    frozenset({"source_correlation", "source_correlation_posed", "lmd_to_generated"}),
)
CROSS_DRIVING = Group(
    "Cross-driving",
    "The same frames driven by other audio: nothing but the audio determines the mouth. Floor and ceiling are those of "
    "lip-sync; in picture quality the untouched frames are perfect.",
    (
        Column(OTHER, "other passage", "", "driven by another passage of the clip's own audio"),
        Column(OTHER_PASTED, "its mouth pasted", "ceiling", "the true mouths of that passage, pasted in"),
        Column(UNCHANGED, "source as is", "floor", "the untouched frames, with that passage's audio"),
        Column(VOICE, "other voice", "", "driven by somebody else's speech"),
    ),
    frozenset(),
)
SILENT = Group(
    "Silence",
    "The same frames driven by digital silence: the mouth should stay in its rest pose. A render has the rest rule on: "
    "where the audio is silent the mouth takes its rest pose whatever the network predicts. What moves then in the "
    "picture is the head.",
    (
        Column(SILENCE_PREDICTED, "rest rule off", "", "the network's own prediction from silence"),
        Column(SILENCE, "rest rule on", "", "as a render does it: the rest pose"),
    ),
    frozenset({"opening_std_ratio"}),  # there is no amplitude to aim at; movement in pauses says the same
)
GROUPS = (RECONSTRUCTION, CROSS_DRIVING, SILENT)

THIS_SYNCNET = "In the embedding of this SyncNet: compare within this page only."
MEANINGS: dict[str, Meaning] = {
    "opening_correlation": Meaning(
        "mouth follows the audio",
        "Correlation of the mouth opening with the true one: 1 = the same movement, 0 = unrelated.",
        "higher",
    ),
    "opening_std_ratio": Meaning(
        "amplitude",
        "Standard deviation of the mouth opening: 1 = as much movement as the real mouth, below 1 = too little.",
        "1",
        "× real",
    ),
    "lmd": Meaning(
        "lip distance (LMD)",
        "Landmark distance: mean distance of the lip landmarks from the true ones.",
        "lower",
        "eye distances",
        3,
    ),
    "closure_gap": Meaning(
        "open on p, b, m",
        "How much wider than the true mouth it stays open where the lips must meet: 0 = closed as far.",
        "lower",
        "std of the real opening",
    ),
    "silence_motion": Meaning(
        "movement in pauses",
        "Standard deviation of the opening while nobody speaks, against the real one overall; people move theirs, too.",
        "lower",
        "× real",
    ),
    "source_correlation": Meaning(
        "copies the source mouth",
        "Correlation with the mouth of the frames that are drawn on: 1 = the audio is ignored; the ceiling column "
        "shows what is chance here.",
        "lower",
    ),
    "source_correlation_posed": Meaning(
        "copies, head pose removed",
        "The same without what the head pose does to the opening in the picture: the head stays that of the source.",
        "lower",
    ),
    "lmd_to_generated": Meaning(
        "LMD to own audio's mouth",
        "Distance of the lips from those that the own audio gives: about 0 = the audio makes no difference.",
        "higher",
        "eye distances",
        3,
    ),
    "psnr_db": Meaning(
        "PSNR in the mask",
        "Peak signal-to-noise ratio against the true pixels where the mouth was redrawn.",
        "higher",
        "dB",
        1,
    ),
    "ssim": Meaning(
        "SSIM in the mask",
        "Structural similarity to the true picture where the mouth was redrawn: 1 = equal.",
        "higher",
        "",
        3,
    ),
    "lpips": Meaning(
        "LPIPS", "Perceptual distance from the true picture, by a network trained for it: 0 = equal.", "lower", "", 3
    ),
    "sharpness_ratio": Meaning(
        "sharpness",
        "Variance of the Laplacian inside the mask: below 1 = softer than the source.",
        "1",
        "× real",
    ),
    "seam_ratio": Meaning(
        "mask's border", "Gradient along the border of the mask: above 1 = a visible seam.", "1", "× real"
    ),
    "skin_jitter_ratio": Meaning(
        "flicker of the skin",
        "Change from frame to frame beside the mouth: above 1 = it flickers, below 1 = steadier than the source.",
        "lower",
        "× real",
    ),
    "lip_flicker_ratio": Meaning(
        "flicker of the lips",
        "Change from frame to frame around the lips that movement does not explain: above 1 = lips or teeth flicker.",
        "lower",
        "× real",
    ),
    "colour_drift": Meaning(
        "colour drift", "Difference of the mean colour in the mask: about 2 is just noticeable.", "lower", "CIEDE2000"
    ),
    "lse_c": Meaning(
        "LSE-C",
        f"Confidence of the SyncNet: median distance over the offsets minus the least. {THIS_SYNCNET}",
        "higher",
    ),
    "lse_d": Meaning("LSE-D", f"Least mean distance of mouth and audio over the offsets. {THIS_SYNCNET}", "lower"),
    "sync_offset": Meaning(
        "SyncNet offset",
        "Frames by which the audio is late by the SyncNet; ±15 is the edge of the search.",
        "0",
        "frames",
        0,
    ),
}
CLIP_MEANINGS: dict[str, Meaning] = {
    "crop_jitter": Meaning(
        "jitter of the crops",
        "Rms second difference of where the mouth is pasted: above 0.005 it can be seen.",
        "lower",
        "eye distances",
        4,
    ),
    "sound_shift": Meaning(
        "A/V offset", "Frames by which the clip's audio is late; training and evaluation correct it.", "0", "frames", 1
    ),
}


def meaning(name: str) -> Meaning:
    """Of any metric; one that is not listed here goes by its own name."""
    return MEANINGS.get(name) or CLIP_MEANINGS.get(name) or Meaning(name.replace("_", " "), "", decimals=3)


def columns(group: Group, evaluation: Evaluation) -> list[Column]:
    """Those of the group that were measured."""
    return [column for column in group.columns if column.row in evaluation.rows]


def figure_names(group: Group, evaluation: Evaluation) -> list[str]:
    """The figures that any row of the group has, in the order of MEANINGS; unknown ones last."""
    found = dict.fromkeys(name for column in columns(group, evaluation) for name in evaluation.rows[column.row])
    known = [name for name in MEANINGS if name in found]
    return [name for name in [*known, *(n for n in found if n not in MEANINGS)] if name not in group.hidden]


def cell(name: str, value: float | None) -> str:
    """A value as text."""
    if value is None or not math.isfinite(value):
        return MISSING
    if name == "psnr_db" and value > EQUAL_DB:
        return "equal"
    decimals = meaning(name).decimals
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return f"+{text}" if name == "sync_offset" and value > 0 else text


def strict_json(values: object) -> str:
    """JSON without NaN and infinities, which are no JSON: they become null."""
    return json.dumps(_finite(values), indent=1, allow_nan=False, ensure_ascii=False)


def _finite(values: object) -> object:
    if isinstance(values, np.ndarray | np.generic):
        return _finite(values.tolist())
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, Iterable) and not isinstance(values, str):
        return [_finite(value) for value in values]
    if isinstance(values, float):
        return float(values) if math.isfinite(values) else None
    return values
