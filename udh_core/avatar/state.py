"""avatar.json while an avatar is prepared: which stages are finished, and from what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..face.crop import CropSpec
from ..files import atomic_write, ends_hash
from . import av_offset, identity
from .folder import FILES, FORMAT, MARKS, SEEN, STATE, is_bundle, open_avatar, read_state

_DEPENDENT = {
    "video": tuple(FILES),
    "audio": ("audio",),
    "track": ("track", "crops", "occlusion"),
    "crops": ("crops", "occlusion"),
    "occlusion": ("occlusion",),
    "deep": ("deep",),
}


class State:
    """What avatar.json holds; every change is written at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        fresh: dict[str, Any] = {"format": FORMAT, "stages": {}}
        self.values = read_state(root) if (root / STATE).is_file() else fresh
        if is_bundle(self.values):
            raise FormatError(f"{root} is an opened bundle, which cannot be prepared further; give another folder")

    def set_crop(self, spec: CropSpec) -> None:
        """Crops of another size are not those that are wanted."""
        if self.values.get("crop") != spec.to_dict():
            self.values["crop"] = spec.to_dict()
            self._forget("crops")

    def begin(self, stage: str, key: str, former_key: str = "") -> bool:
        """Whether a stage must run. It and what depends on it are taken back first: a stop leaves no mixture.

        former_key: what an earlier version called the same source; a stage that has it is kept.
        """
        holds = self._holds(stage, key, former_key)
        if holds and self._is_whole(stage):
            return False
        if not holds and stage in identity.STAGES:
            self.values[identity.KEY] = None
        self._forget(stage)
        return True

    def _holds(self, stage: str, key: str, former_key: str) -> bool:
        """Whether a stage is finished and made of this source.

        A former key stays as it is, because checkpoints remember it as the avatar's identity; but it does not notice
        every change of the source. So the key of today is written down beside it, and from then on that must hold.
        """
        made_of = self.values["stages"].get(stage)
        if made_of != former_key:
            return made_of == key
        seen: dict[str, str] = self.values.setdefault(SEEN, {})
        if stage not in seen:
            seen[stage] = key
            self._save()
        return seen[stage] == key

    def _is_whole(self, stage: str) -> bool:
        """Whether a stage's file is as it was written; of an avatar of an earlier version, whether it is there."""
        path = self.root / FILES[stage]
        return path.is_file() and self.values.get(MARKS, {}).get(stage) in (None, ends_hash(path))

    def finish(self, stage: str, key: str, **facts: object) -> None:
        """A stage is done, from what this key stands for; `facts` are written down with it."""
        self.values["stages"][stage] = key
        self.values.update(facts)
        written = ("track", "crops") if stage == "crops" else (stage,)  # another crop size has other transforms
        self.values.setdefault(MARKS, {}).update({one: ends_hash(self.root / FILES[one]) for one in written})
        self._save()

    def note(self, name: str, facts: object) -> None:
        """Write down what belongs to no stage."""
        if self.values.get(name) != facts:
            self.values[name] = facts
            self._save()

    def settle(self) -> None:
        """Write down who the avatar is, as soon as all that this depends on is finished."""
        if self.values.get(identity.KEY, "") is None and self.values["stages"].keys() >= identity.STAGES:
            self.values |= identity.settle(self.values, open_avatar(self.root, ("video", "track")).track())
            self._save()

    def _forget(self, stage: str) -> None:
        for dependent in _DEPENDENT[stage]:
            self.values["stages"].pop(dependent, None)
            self.values.get(SEEN, {}).pop(dependent, None)
        if {"audio", "track"} & set(_DEPENDENT[stage]):
            self.values.pop(av_offset.KEY, None)
        self._save()

    def _save(self) -> None:
        with atomic_write(self.root / STATE) as temporary:
            temporary.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
