"""Nodes that load what was made earlier, by kind: avatars, generators, SyncNets, bundles. A whole person: `person`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from comfy_api.latest import io

from ..udh_core.avatar.folder import open_avatar
from ..udh_core.errors import FileError, OptionError
from ..udh_core.media.audio import load_sound
from .host import folders, made, media, wording
from .person import Person, opened
from .types import AVATAR, CATEGORY, GENERATOR, SYNCNET, open_trained

NOTHING = "(nothing saved yet)"
CHECKPOINT = ".safetensors"


class _Load(io.ComfyNode):
    """One chosen thing of a folder below models/udh. It runs again when its file has changed."""

    node_id: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    kind: ClassVar[str]  # the folder
    pattern: ClassVar[str] = f"*{CHECKPOINT}"  # of what is listed
    suffix: ClassVar[str] = CHECKPOINT  # of the file that tells whether a thing has changed, after its name
    outputs: ClassVar[list[io.Output]]
    aliases: ClassVar[list[str]]  # other words that it is looked for by
    deprecated: ClassVar[bool] = False

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.node_id,
            display_name=cls.title,
            category=CATEGORY,
            description=cls.description,
            search_aliases=cls.aliases,
            is_deprecated=cls.deprecated,
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folders.saved_names(cls.kind, cls.pattern) or [NOTHING],
                    tooltip=f"What lies in models/udh/{cls.kind}. Press R to refresh the list.",
                )
            ],
            outputs=cls.outputs,
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        return wording.checked(lambda: None if name is None else cls._saved(name))

    @classmethod
    def _saved(cls, name: str) -> Path:
        """OptionError or FileError when there is nothing of that name."""
        if name == NOTHING:
            raise FileError(f"nothing is saved yet in models/udh/{cls.kind}; train a person first, then press R")
        return folders.saved_path(cls.kind, name, cls.suffix)

    @classmethod
    def fingerprint_inputs(cls, name: str | None) -> str:
        """Changes when what is saved does; a linked name is None here, and the node that gives it is asked itself."""
        if name is None:
            return ""
        try:
            return folders.stamp(folders.saved_path(cls.kind, name, cls.suffix))
        except (FileError, OptionError):  # it is gone, or has no name that can be: running the node says so
            return "missing"


class LoadAvatar(_Load):
    """A saved avatar."""

    node_id = "UDH_LoadAvatar"
    title = "Load Avatar"
    description = "An avatar that Load Avatar Video and Detect Landmarks made earlier."
    aliases: ClassVar[list[str]] = ["load character", "talking head", "prepared clip"]
    kind, pattern, suffix = "avatars", "*/crops.npy", "/avatar.json"
    outputs: ClassVar[list[io.Output]] = [
        AVATAR.Output("avatar", tooltip="For the training nodes and Lip Sync Render."),
        io.Audio.Output(display_name="audio", tooltip="The avatar's own speech (16 kHz mono), to train again with."),
    ]

    @classmethod
    @wording.reported
    def execute(cls, name: str) -> io.NodeOutput:
        avatar = open_avatar(folders.saved_path(cls.kind, name))
        return io.NodeOutput(avatar, media.audio_of(*load_sound(avatar.audio)))


class LoadGenerator(_Load):
    """A saved generator."""

    node_id = "UDH_LoadGenerator"
    title = "Load Generator"
    description = "A generator that Train Generator made earlier."
    aliases: ClassVar[list[str]] = ["load face model", "lip sync model", "wav2lip"]
    kind = "generators"
    outputs: ClassVar[list[io.Output]] = [
        GENERATOR.Output("generator", tooltip="For Lip Sync Render, with the avatar it was trained on.")
    ]

    @classmethod
    @wording.reported
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(open_trained(folders.saved_path(cls.kind, name, cls.suffix), "generator"))


class LoadSyncNet(_Load):
    """A saved SyncNet."""

    node_id = "UDH_LoadSyncNet"
    title = "Load SyncNet"
    description = "A SyncNet that Train SyncNet made earlier."
    aliases: ClassVar[list[str]] = ["lip sync expert", "load sync model"]
    kind = "syncnets"
    outputs: ClassVar[list[io.Output]] = [
        SYNCNET.Output("syncnet", tooltip="For Train Generator, Sync Report, or Train SyncNet, which begins from it.")
    ]

    @classmethod
    @wording.reported
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(open_trained(folders.saved_path(cls.kind, name, cls.suffix), "syncnet"))


class LoadBundle(_Load):
    """A trained person from one file, for graphs from before there was Load Person."""

    node_id = "UDH_LoadBundle"
    title = "Load Avatar Bundle"
    description = (
        "A trained person from one file that Export Avatar made, here or on another computer. Both outputs go into "
        "Lip Sync Render. Load Person loads such files, too, and takes the place of this node."
    )
    aliases: ClassVar[list[str]] = ["shared avatar", "avatar file"]
    deprecated = True
    kind = "bundles"
    outputs: ClassVar[list[io.Output]] = [
        AVATAR.Output("avatar", tooltip="For Lip Sync Render."),
        GENERATOR.Output("generator", tooltip="For Lip Sync Render, too."),
    ]

    @classmethod
    def fingerprint_inputs(cls, name: str | None) -> str:
        """As any; and what was unpacked has to be there still."""
        return f"{super().fingerprint_inputs(name)} {made.state()}".strip()

    @classmethod
    @wording.reported
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(*opened(Person(None, folders.saved_path(cls.kind, name, cls.suffix))))
