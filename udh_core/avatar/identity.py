"""Who an avatar is: the clip, the face that was chosen in it, and the sound that was given apart.

A generator belongs to one identity: of another face, or of another sound, it knows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..face.tracking import FaceTrack
from .source import stage_key

KEY = "identity"  # in avatar.json: null from the moment a part of it changes until all parts are there again
STAGES = frozenset({"video", "audio", "track"})  # what it depends on
FACE, SOUND = "face", "sound"  # in avatar.json: place of the face in px; name of the file whose sound was given apart
RANK = "face_rank"  # in avatar.json: how many faces came before it, from left to right, when it was first seen
_FIRST_SEEN_S = 2  # faces that are first seen in the same so many seconds are told apart by their rank


def of(state: Mapping[str, Any]) -> str:
    """Of the avatar whose avatar.json holds this: of the clip alone as long as no face is chosen.

    So is that of an avatar which an earlier version made.
    """
    clip: str = state["stages"]["video"]
    known: str | None = state.get(KEY, clip)
    if known is not None:
        return known
    return f"{clip} unfinished" if "track" in state["stages"] else clip


def settle(state: Mapping[str, Any], track: FaceTrack) -> dict[str, Any]:
    """What avatar.json has to hold of an avatar whose picture, sound and track are finished.

    The face counts by its rank and by when it is first seen: its place in px differs between processors.
    """
    first = int(np.flatnonzero(track.valid)[0])
    face = state.get(RANK, 0), int(first / Fraction(state["video"]["fps"]) // _FIRST_SEEN_S)
    sound = state["stages"]["audio"] if state.get(SOUND) else None
    known = stage_key("avatar", state["stages"]["video"], *face, sound)
    x, y = track.landmarks[first].mean(0).astype(float)
    return {KEY: known, FACE: [round(x), round(y)]}


def in_words(name: str, state: Mapping[str, Any]) -> str:
    """For messages: name of the folder and the clip, the face and the sound where they are known."""
    parts = [str(state.get("source", "a clip"))]
    if state.get(FACE):
        x, y = state[FACE]
        parts.append(f"the face at {x} {y}")
    if state.get(SOUND):
        named = not re.fullmatch(r"[0-9a-f]{8,}(-\d+)?", Path(state[SOUND]).stem)  # else a temporary file
        parts.append(f"the sound of {state[SOUND]}" if named else "a sound given apart")
    return f"{name} ({', '.join(parts)})"
