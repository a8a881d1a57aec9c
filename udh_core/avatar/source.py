"""What an avatar is made of: fingerprints of its source files, and the keys of the stages that follow from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..files import content_hash, ends_hash


def identity_of(source: Path, start_s: float = 0.0, duration_s: float | None = None) -> str:
    """What `Avatar.identity` will be of an avatar made from this part of a clip."""
    return stage_key("video", fingerprint(source), start_s, duration_s)


def former_identity_of(source: Path, start_s: float = 0.0, duration_s: float | None = None) -> str:
    """What `Avatar.identity` is of an avatar that an earlier version made from this part of a clip."""
    return stage_key("video", former_fingerprint(source), start_s, duration_s)


def is_made_from(identity: str, source: Path, start_s: float = 0.0, duration_s: float | None = None) -> bool:
    """Whether an avatar of this identity was made from this part of a clip, by this version or an earlier one."""
    part = (source, start_s, duration_s)
    return identity in (identity_of(*part), former_identity_of(*part))


def fingerprint(path: Path) -> str:
    """Identity of a file: a hash of all of it."""
    return content_hash(path)[:16]


def former_fingerprint(path: Path) -> str:
    """What earlier versions took for `fingerprint`."""
    return ends_hash(path)


def stage_key(*parts: object) -> str:
    """A short hash of what a stage is made of."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
