"""Which file or folder a node writes: its own of that name, or a free one. Nothing of another person is replaced, and
nothing that another node of the same graph has made.

name · name (2) · name (3) …
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from ..udh_core.avatar import reuse
from ..udh_core.avatar.folder import Avatar
from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.errors import UdhError
from ..udh_core.models.checkpoint import Checkpoint, read_info, resume_path
from .host import folders, made

CHECKPOINT = ".safetensors"
TRAINED = ("generators", "syncnets")
NUMBERED = re.compile(r"(.*) \(([1-9]\d{0,3})\)")
LONGEST, LONGEST_BYTES = 94, 172  # of a name that gets a number, so that `folders.safe_name` still takes it


def of_checkpoint(kind: str, name: str, avatar: Avatar) -> Path:
    """The file of this kind (generators, syncnets, bundles) and name if it is free, or of this avatar and not what
    another node of the graph trained; else the next number. An empty name is that of the avatar.
    """

    def is_own(path: Path) -> bool:
        return not made.is_held(path) and any(
            (info.made_from, info.crop.view) == (avatar.identity, avatar.crop.view) for info in _infos(path)
        )

    wanted = folders.safe_name(name, "") if name.strip() else avatar.root.name
    paths = _series(kind, wanted, CHECKPOINT)
    return _choose(paths, lambda path: not path.exists() and not resume_path(path).exists(), is_own)


def of_clip(name: str, source: Path, options: PrepareOptions, sound: Path | None, sound_start_s: float) -> Path:
    """The avatar folder of this (safe) name that was made of this: clip, part, sound, crop size. Else one of the same
    clip that nothing was trained on, and that no other node of the graph loaded: it may be made anew. Else a free one.
    """
    return _choose(
        _series("avatars", name),
        reuse.is_free,
        lambda root: reuse.is_import_of(root, source, options, sound, sound_start_s),
        lambda root: reuse.is_of_clip(root, source) and not (made.is_held(root) or _is_needed(root)),
    )


def of_face(avatar: Avatar, options: PrepareOptions) -> Path:
    """The avatar folder in which the face is followed that these options choose: one of the same picture and sound.

    Else one of them that nothing was trained on, and in which no other node of the graph follows a face: it may follow
    another from now on. Else a free one.
    """

    def may_follow(root: Path) -> bool:
        if made.is_held(root) or not reuse.is_same_import(root, avatar.root):
            return False
        return reuse.is_face_of(root, options) or not _is_needed(root)

    return _choose(
        _series("avatars", avatar.root.name),
        reuse.is_free,
        lambda root: reuse.is_same_import(root, avatar.root) and reuse.is_track_of(root, options),
        may_follow,
    )


def _series(kind: str, name: str, suffix: str = "") -> Iterator[Path]:
    """The paths of a name, and of the names with a number that follow; of "name (2)" they are "name (3)" and so on."""
    yield folders.new_path(kind, name, suffix)
    whole, number = NUMBERED.fullmatch(name), 2
    if whole:
        name, number = whole[1], int(whole[2]) + 1
    short = name[:LONGEST].encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip()
    for following in count(number):
        yield folders.new_path(kind, f"{short} ({following})", suffix)


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
    files = [
        file for kind in TRAINED for place in folders.model_folders(kind) for file in place.rglob(f"*{CHECKPOINT}")
    ]
    return any(info.made_from == identity for file in files for info in _infos(file))
