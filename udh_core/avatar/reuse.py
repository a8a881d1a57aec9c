"""Whether an avatar folder is free, or made of this clip, or follows this face already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import FileError, FormatError, UdhError
from ..face.crop import CropSpec
from . import identity
from .folder import CLIP, FACE_CHOICE, FEATURES, FILES, SEEN, STATE, open_avatar, read_state
from .options import PrepareOptions
from .source import face_choice, fingerprint, former_fingerprint, sound_part, stage_key, track_key, video_stage_keys

_IMPORTED = ("video", "audio")  # stages of `prepare.import_clip`


def is_free(root: Path) -> bool:
    """Whether there is no avatar, or nothing finished, that a new one would replace."""
    if not (root / STATE).is_file():
        return True
    state = _state(root)
    return state is not None and not state["stages"]


def is_whole(root: Path) -> bool:
    """Whether there is an avatar that was prepared to its end."""
    try:
        open_avatar(root)
    except FormatError:
        return False
    return True


def check_no_strangers(root: Path) -> None:
    """FileError when a folder is no avatar, has files of an avatar's names, and others: they are somebody else's."""
    if not root.is_dir() or (root / STATE).exists():
        return
    own = {*FILES.values(), FEATURES}
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    alike, others = (next((name for name in names if (name in own) == of_ours), None) for of_ours in (True, False))
    if alike and others:
        raise FileError(
            f"{root} is no avatar, and its {alike} would be replaced; give another folder, or, if it was one, move the "
            f"other files out of it, such as {others}"
        )


def is_import_of(
    root: Path, source: Path, options: PrepareOptions, audio: Path | None = None, audio_start_s: float = 0.0
) -> bool:
    """Whether a folder is what `prepare.import_clip` makes of this; its files may be missing."""
    state = _state(root)
    if state is None or not _has_crop_of(state, options.crop_px):
        return False
    sound, part = audio or source, sound_part(options, audio_start_s if audio else 0.0)
    video_keys = video_stage_keys(source, options)
    audio_key, former_audio_key = (stage_key("audio", made(sound), *part) for made in (fingerprint, former_fingerprint))
    return _holds(state, "video", *video_keys) and _holds(state, "audio", audio_key, former_audio_key)


def _has_crop_of(state: dict[str, Any], size: int) -> bool:
    try:
        return CropSpec.from_dict(state["crop"]).view == CropSpec(size).view
    except (KeyError, TypeError, ValueError, UdhError):
        return False


def _holds(state: dict[str, Any], stage: str, key: str, former_key: str) -> bool:
    """Whether a stage was made of the source that has this key today, and had another in an earlier version."""
    made_of = state["stages"].get(stage)
    return made_of == key or (made_of == former_key and state.get(SEEN, {}).get(stage, key) == key)


def is_of_clip(root: Path, source: Path) -> bool:
    """Whether a folder was made of this file, whatever part of it."""
    state = _state(root)
    return state is not None and state.get(CLIP) == fingerprint(source)


def imported(root: Path) -> tuple[object, ...] | None:
    """Crop size and keys of the picture and the sound of a folder; None where one of them is missing."""
    state = _state(root)
    if state is None or not all(stage in state["stages"] and (root / FILES[stage]).is_file() for stage in _IMPORTED):
        return None
    return _keys(state)


def is_same_import(root: Path, other: Path) -> bool:
    """Whether two folders have the same picture, sound and crop size, whatever face is followed."""
    one, two = _state(root), _state(other)
    return one is not None and two is not None and _keys(one) == _keys(two)


def identity_of(root: Path) -> str | None:
    """Of an avatar in which a face is followed; None of any other folder."""
    state = _state(root)
    return identity.of(state) if state is not None and {"video", "track"} <= state["stages"].keys() else None


def is_track_of(root: Path, options: PrepareOptions) -> bool:
    """Whether the face that is followed in a folder is the one that these options choose."""
    stages = (_state(root) or {"stages": {}})["stages"]
    return "video" in stages and stages.get("track") == track_key(stages["video"], options)


def is_face_of(root: Path, options: PrepareOptions) -> bool:
    """Whether a folder follows the face that these options choose, however its gaps are treated."""
    return (_state(root) or {}).get(FACE_CHOICE) == face_choice(options)


def _state(root: Path) -> dict[str, Any] | None:
    """What the folder says of itself; None where it is no avatar, or cannot be read."""
    try:
        return read_state(root)
    except FormatError:
        return None


def _keys(state: dict[str, Any]) -> tuple[object, ...]:
    return state.get("crop"), *(state["stages"].get(stage) for stage in _IMPORTED)
