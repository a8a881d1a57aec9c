"""What an avatar is made of: fingerprints of its source files, and the keys of the stages that follow from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..files import content_hash, ends_hash
from .options import PrepareOptions


def identity_of(source: Path, start_s: float = 0.0, duration_s: float | None = None, video_track: int = 0) -> str:
    """What `Avatar.identity` will be of an avatar made from this part of a clip."""
    chosen = [video_track] if video_track else []
    return stage_key("video", fingerprint(source), start_s, duration_s, *chosen)


def former_identity_of(source: Path, start_s: float = 0.0, duration_s: float | None = None) -> str:
    """What `Avatar.identity` is of an avatar that an earlier version made from this part of a clip."""
    return stage_key("video", former_fingerprint(source), start_s, duration_s)


def is_made_from(
    identity: str, source: Path, start_s: float = 0.0, duration_s: float | None = None, video_track: int = 0
) -> bool:
    """Whether an avatar of this identity was made from this part of a clip, by this version or an earlier one."""
    if identity == identity_of(source, start_s, duration_s, video_track):
        return True
    return video_track == 0 and identity == former_identity_of(source, start_s, duration_s)


def video_stage_keys(source: Path, options: PrepareOptions) -> tuple[str, str]:
    """Keys of the stage "video": that of today, and what an earlier version made of the same (which chose no track)."""
    part, track = (options.start_s, options.duration_s), options.video_track
    key = identity_of(source, *part, track)
    return key, key if track else former_identity_of(source, *part)


def sound_part(options: PrepareOptions, apart_from_s: float = 0.0) -> tuple[object, ...]:
    """Which part of a sound is taken, for the key of the stage "audio"; `apart_from_s`: where it begins in a sound that
    is given apart from the clip.
    """
    track = (options.audio_track,) if options.audio_track else ()
    apart = (f"from {apart_from_s} s",) if apart_from_s else ()
    return (options.start_s, options.duration_s, *track, *apart)


def track_key(video_key: str, options: PrepareOptions) -> str:
    """Of the stage "track": which face of which picture is followed."""
    face = (options.face_index, options.face_point, options.max_gap_s, options.skip_lost)
    return stage_key("track", video_key, face)


def face_choice(options: PrepareOptions) -> str:
    """Which face is followed, as avatar.json says it."""
    return str(options.face_index if options.face_point is None else options.face_point)


def fingerprint(path: Path) -> str:
    """Identity of a file: a hash of all of it."""
    return content_hash(path)[:16]


def former_fingerprint(path: Path) -> str:
    """What earlier versions took for `fingerprint`."""
    return ends_hash(path)


def stage_key(*parts: object) -> str:
    """A short hash of what a stage is made of."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
