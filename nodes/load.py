"""What was made earlier, from disk: avatars, generators, SyncNets."""

from __future__ import annotations

import hashlib
from pathlib import Path

from comfy_api.latest import io

from ..udh_core.avatar.folder import open_avatar
from ..udh_core.errors import FileError, OptionError
from ..udh_core.export.bundle import Unpacked, reopen, unpack
from ..udh_core.media.audio import load_sound
from . import host
from .sockets import AVATAR, CATEGORY, GENERATOR, SYNCNET, open_trained

NOTHING = "(nothing saved yet)"
CHECKPOINT = ".safetensors"


def _names(kind: str, pattern: str) -> list[str]:
    return host.saved_names(kind, pattern) or [NOTHING]


def _known(kind: str, name: str, suffix: str = "") -> bool | str:
    if name == NOTHING:
        return f"choose one from the list; if it is empty, nothing is saved yet in models/udh/{kind}"
    return True if host.saved_path(kind, name, suffix).exists() else f"{name} is gone"


def _stamp(kind: str, name: str | None, suffix: str) -> str:
    """Changes when what is saved does; a linked name is None here, and the node that gives it is asked itself."""
    if name is None:
        return ""
    try:
        return host.stamp(host.saved_path(kind, name, suffix))
    except (FileError, OptionError):  # it is gone, or has no name that can be: running the node says so
        return "missing"


class LoadAvatar(io.ComfyNode):
    """A saved avatar."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadAvatar",
            display_name="Load Avatar",
            category=CATEGORY,
            description="An avatar that Load Avatar Video and Detect Landmarks made earlier.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_names("avatars", "*/crops.npy"),
                    tooltip="An avatar in models/udh/avatars. Press R to refresh the list.",
                )
            ],
            outputs=[
                AVATAR.Output("avatar", tooltip="Goes into training or Lip Sync Render."),
                io.Audio.Output(
                    display_name="audio", tooltip="The avatar's own speech (16 kHz mono), to train again with."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str) -> bool | str:
        return _known("avatars", name)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        return _stamp("avatars", name, "/avatar.json")

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        avatar = open_avatar(host.saved_path("avatars", name))
        return io.NodeOutput(avatar, host.audio_of(*load_sound(avatar.audio)))


class LoadAvatarToGo(io.ComfyNode):
    """A file that holds a person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadAvatarToGo",
            display_name="Load Avatar To Go",
            category=CATEGORY,
            description="A trained person from one file that Export Avatar made, here or on another computer. Both "
            "outputs go into Lip Sync Render; there is nothing in it to train on.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_names("to-go", f"*{CHECKPOINT}"),
                    tooltip="A file in models/udh/to-go. Press R to refresh the list.",
                )
            ],
            outputs=[
                AVATAR.Output("avatar", tooltip="Goes into Lip Sync Render."),
                GENERATOR.Output("generator", tooltip="Goes into Lip Sync Render, too."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str) -> bool | str:
        return _known("to-go", name, CHECKPOINT)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        return _stamp("to-go", name, CHECKPOINT)

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        person = _unpacked(host.saved_path("to-go", name, CHECKPOINT))
        return io.NodeOutput(person.avatar, open_trained(person.generator, "generator"))


def _unpacked(bundle: Path) -> Unpacked:
    """Its content in ComfyUI's temp folder; each state of a file is unpacked once."""
    state = hashlib.sha256(repr((bundle, host.stamp(bundle))).encode()).hexdigest()[:16]
    folder = host.temp_folder() / f"{bundle.stem}-{state}"
    return reopen(folder) if folder.is_dir() else unpack(bundle, folder)


class LoadGenerator(io.ComfyNode):
    """A saved generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadGenerator",
            display_name="Load Generator",
            category=CATEGORY,
            description="A generator that Train Generator made earlier.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_names("generators", f"*{CHECKPOINT}"),
                    tooltip="A generator in models/udh/generators. Press R to refresh the list.",
                )
            ],
            outputs=[
                GENERATOR.Output("generator", tooltip="Goes into Lip Sync Render, with the avatar it was trained on.")
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str) -> bool | str:
        return _known("generators", name, CHECKPOINT)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        return _stamp("generators", name, CHECKPOINT)

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(open_trained(host.saved_path("generators", name, CHECKPOINT), "generator"))


class LoadSyncNet(io.ComfyNode):
    """A saved SyncNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadSyncNet",
            display_name="Load SyncNet",
            category=CATEGORY,
            description="A SyncNet that Train SyncNet made earlier.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_names("syncnets", f"*{CHECKPOINT}"),
                    tooltip="A SyncNet in models/udh/syncnets. Press R to refresh the list.",
                )
            ],
            outputs=[
                SYNCNET.Output(
                    "syncnet", tooltip="Goes into Train Generator, Sync Report, or Train SyncNet as its start."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str) -> bool | str:
        return _known("syncnets", name, CHECKPOINT)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        return _stamp("syncnets", name, CHECKPOINT)

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(open_trained(host.saved_path("syncnets", name, CHECKPOINT), "syncnet"))
