"""Trained people: the node that loads one, whole, and what they are called.

A trained person is an avatar with a generator that was trained on it, or a bundle. Its name is that of the avatar, or
"avatar: generator" where the generator has another; of a bundle it is the file's, "anna.safetensors". Files in a
sub-folder have its name before theirs: "shop/anna".
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar, open_avatar
from ..udh_core.errors import FileError, FormatError, UdhError
from ..udh_core.export.bundle import SUFFIX, OpenedBundle, open_bundle, reopen_bundle
from ..udh_core.media.video import read_frames
from .host import display, folders, made, media, wording
from .types import AVATAR, CATEGORY, GENERATOR, Trained, open_trained

NOBODY = "(nobody trained yet)"
RENDERED = ("video", "track")  # the stages of an avatar that rendering needs


class Person(NamedTuple):
    """Where a trained person lies."""

    avatar: Path | None  # the folder; None: in the bundle
    file: Path  # the generator's checkpoint, or the bundle


class LoadPerson(io.ComfyNode):
    """A trained person: avatar and generator, which belong together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadPerson",
            display_name="Load Person",
            category=CATEGORY,
            description="A trained person, ready to speak: the avatar and the generator that was trained on it, or a "
            "bundle that Export Avatar made. Both outputs go into Lip Sync Render.",
            search_aliases=["lip sync", "talking head", "wav2lip", "load avatar", "load character", "bundle"],
            inputs=[
                io.Combo.Input(
                    "person",
                    options=list(people()) or [NOBODY],
                    tooltip="Who has been trained, by the avatar's name; the generator's follows where it has another. "
                    "Names that end in .safetensors are bundles. Press R to refresh the list.",
                ),
                io.String.Input(
                    "path",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Instead of a name: the path of a bundle, or of an avatar's folder, anywhere on the "
                    "computer. Its generator lies beside the folder, or in models/udh/generators.",
                ),
            ],
            outputs=[
                AVATAR.Output("avatar", tooltip="For Lip Sync Render."),
                GENERATOR.Output("generator", tooltip="For Lip Sync Render, too."),
                io.Image.Output(display_name="first_frame", tooltip="The first frame of the clip, to see who it is."),
            ],
        )

    @classmethod
    def validate_inputs(cls, person: str | None, path: str | None = "") -> bool | str:
        return wording.checked(lambda: None if person is None or path is None else _chosen(person, path))

    @classmethod
    def fingerprint_inputs(cls, person: str | None, path: str | None = "") -> str:
        """Changes when what is chosen does, or when what was unpacked of it is gone."""
        if person is None or path is None:  # linked: the node that gives it is asked itself
            return made.state()
        try:
            chosen = _chosen(person, path)
        except UdhError:  # running the node says so
            return "missing"
        stamps = [folders.stamp(chosen.file)]
        stamps += [] if chosen.avatar is None else [folders.stamp(chosen.avatar / "avatar.json")]
        return f"{stamps} {made.state()}"

    @classmethod
    @wording.reported
    def execute(cls, person: str, path: str = "") -> io.NodeOutput:
        avatar, generator = opened(_chosen(person, path))
        frame = media.image_of(*read_frames(avatar.video, count=1))
        display.say(_described(avatar, generator))
        return io.NodeOutput(avatar, generator, frame, ui=ui.PreviewImage(frame, cls=cls))


def people() -> dict[str, Person]:
    """Everybody who can speak, by name; what cannot be read is left out."""
    generators = list(_generators(_saved("generators", SUFFIX)))
    found: dict[str, Person] = {}
    for name, root in _saved("avatars", ""):
        for generator, trained in _trained_on(root, generators):
            same = generator.rpartition("/")[2] == name.rpartition("/")[2] and name not in found
            found[name if same else f"{name}: {generator}"] = Person(root, trained.path)
    return found | {f"{name}{SUFFIX}": Person(None, bundle) for name, bundle in _saved("bundles", SUFFIX)}


def opened(person: Person) -> tuple[Avatar, Trained]:
    """Avatar and generator; a bundle is unpacked into ComfyUI's temp folder, once for each state of the file."""
    if person.avatar is not None:
        return open_avatar(person.avatar, RENDERED), open_trained(person.file, "generator")
    bundle = _unpacked(person.file)
    made.note(bundle.avatar.root, lambda: _is_whole(bundle.avatar.root))
    return bundle.avatar, open_trained(bundle.generator, "generator")


def _chosen(name: str, path: str) -> Person:
    """FileError where there is nobody of that name, or nobody who can speak in that path."""
    if path.strip():
        return _in_path(Path(path.strip().strip('"')).expanduser())
    if name == NOBODY:
        raise FileError("nobody is trained yet in models/udh; train a person first, then press R")
    found = people().get(name)
    if found is None:
        raise FileError(f"there is no trained person called {name!r} in models/udh; choose another, or press R")
    return found


def _in_path(path: Path) -> Person:
    """FormatError where an avatar's folder is none; FileError where it has no generator, or there is nothing at all."""
    if path.is_file():
        return Person(None, path)
    if not path.is_dir():
        raise FileError(f"there is neither a bundle nor an avatar's folder at {path}; give its path on this computer")
    open_avatar(path, RENDERED)
    beside = [(file.stem, file) for place in (path, path.parent) for file in sorted(place.glob(f"*{SUFFIX}"))]
    generators = [*_generators(beside), *_generators(_saved("generators", SUFFIX))]
    generators.sort(key=lambda one: one[0] != path.name)  # that of the same name first
    for _, trained in _trained_on(path, generators):
        return Person(path, trained.path)
    raise FileError(f"no generator was trained on the avatar {path}; put its file beside that folder")


def _saved(kind: str, suffix: str) -> Iterator[tuple[str, Path]]:
    """Name and path of what is saved of a kind."""
    for name in folders.saved_names(kind, f"*{suffix}" if suffix else "*/avatar.json"):
        with suppress(UdhError):  # of a name that can be none
            yield name, folders.saved_path(kind, name, suffix)


def _generators(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Trained]]:
    """Of the named files those that are generators, opened."""
    for name, file in files:
        with suppress(UdhError):
            yield name, open_trained(file, "generator")


def _trained_on(root: Path, generators: Iterable[tuple[str, Trained]]) -> Iterator[tuple[str, Trained]]:
    """Those that were trained on the avatar of this folder; none where it is not ready to render."""
    with suppress(UdhError):
        avatar = open_avatar(root, RENDERED)
        for name, trained in generators:
            if (trained.info.made_from, trained.info.crop.view) == (avatar.identity, avatar.crop.view):
                yield name, trained


def _described(avatar: Avatar, generator: Trained) -> str:
    info = avatar.info
    size, rate = f"{info.width}×{info.height} px", f"{float(info.fps):g} fps"
    return f"{info.duration_s:.1f} s, {size}, {rate}; generator {generator.path.stem}, step {generator.info.step}"


def _unpacked(bundle: Path) -> OpenedBundle:
    """Its content in ComfyUI's temp folder; each state of a file is opened once."""
    state = hashlib.sha256(repr((bundle, folders.stamp(bundle))).encode()).hexdigest()[:16]
    folder = folders.temp_folder() / f"{bundle.stem}-{state}"
    if _is_whole(folder):
        return reopen_bundle(folder)
    shutil.rmtree(folder, ignore_errors=True)  # what is left of it, when some of its files were deleted
    return open_bundle(bundle, folder)


def _is_whole(folder: Path) -> bool:
    """Whether a bundle is unpacked there, with all its files."""
    try:
        return reopen_bundle(folder).generator.is_file()
    except FormatError:
        return False
