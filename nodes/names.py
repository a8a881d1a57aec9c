"""Which file or folder a node writes: its own of that name, or a free one. Nothing of another person is replaced.

name · name (2) · name (3) …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from ..udh_core.avatar import reuse
from ..udh_core.avatar.folder import Avatar
from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.errors import UdhError
from ..udh_core.models.checkpoint import Checkpoint, read_info, resume_path
from .host import folders

CHECKPOINT = ".safetensors"
TRAINED = ("generators", "syncnets")
LONGEST, LONGEST_BYTES = 94, 172  # of a name that gets a number, so that `folders.safe_name` still takes it


def of_checkpoint(kind: str, name: str, avatar: Avatar) -> Path:
    """The file of this kind (generators, syncnets, bundles) and name if it is free, or of this avatar; else the next
    number. An empty name is that of the avatar.
    """

    def is_own(path: Path) -> bool:
        return any((info.made_from, info.crop) == (avatar.identity, avatar.crop) for info in _infos(path))

    wanted = folders.safe_name(name, "") if name.strip() else avatar.root.name
    paths = _series(kind, wanted, CHECKPOINT)
    return _choose(paths, lambda path: not path.exists() and not resume_path(path).exists(), is_own)


def of_clip(name: str, source: Path, options: PrepareOptions, sound: Path | None) -> Path:
    """The avatar folder of this (safe) name that was made of this: clip, part, sound, crop size. Else one of the same
    clip that nothing was trained on, which may be made anew; else a free one.
    """
    return _choose(
        _series("avatars", name),
        reuse.is_free,
        lambda root: reuse.is_import_of(root, source, options, sound),
        lambda root: reuse.is_of_clip(root, source) and not _is_needed(root),
    )


def of_face(avatar: Avatar, options: PrepareOptions) -> Path:
    """The avatar folder in which the face is followed that these options choose: one of the same picture and sound.

    Else one of them that nothing was trained on, which may follow another face from now on; else a free one.
    """

    def may_follow(root: Path) -> bool:
        return reuse.is_same_import(root, avatar.root) and (reuse.is_face_of(root, options) or not _is_needed(root))

    return _choose(
        _series("avatars", avatar.root.name),
        reuse.is_free,
        lambda root: reuse.is_same_import(root, avatar.root) and reuse.is_track_of(root, options),
        may_follow,
    )


def _series(kind: str, name: str, suffix: str = "") -> Iterator[Path]:
    """The paths of a name, and of the names with a number that follow."""
    yield folders.new_path(kind, name, suffix)
    for number in count(2):
        short = name[:LONGEST].encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip()
        yield folders.new_path(kind, f"{short} ({number})", suffix)


def _choose(paths: Iterator[Path], is_free: Callable[[Path], bool], *fits: Callable[[Path], bool]) -> Path:
    """Of the paths before the first free one, that which passes the first of the tests, or the next; else the free."""
    taken: list[Path] = []
    path = next(paths)
    while not is_free(path):
        taken.append(path)
        path = next(paths)
    return next((own for test in fits for own in taken if test(own)), path)


def _infos(path: Path) -> Iterator[Checkpoint]:
    """What a checkpoint and its resume state say of themselves; nothing where they cannot be read."""
    for file in (path, resume_path(path)):
        try:
            yield read_info(file)
        except UdhError:
            continue


def _is_needed(root: Path) -> bool:
    """Whether there is a generator or a SyncNet that was trained with this avatar."""
    identity = reuse.identity_of(root)
    files = [file for kind in TRAINED for place in folders.model_folders(kind) for file in place.glob(f"*{CHECKPOINT}")]
    return any(info.made_from == identity for file in files for info in _infos(file))
