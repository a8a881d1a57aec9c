"""The nodes: thin over udh_core. Only `host` and the sockets know ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .analyse import DetectLandmarks, ExtractAudioFeatures
from .export import ExportAvatar
from .load import LoadAvatar, LoadAvatarToGo, LoadGenerator, LoadSyncNet
from .media import LoadAvatarVideo, MuxVideo
from .render import LipSyncRender
from .report import SyncReport
from .train import TrainGenerator, TrainSyncNet

NODES: list[type[io.ComfyNode]] = [
    LoadAvatarVideo,
    DetectLandmarks,
    ExtractAudioFeatures,
    TrainSyncNet,
    TrainGenerator,
    LipSyncRender,
    MuxVideo,
    SyncReport,
    LoadAvatar,
    LoadGenerator,
    LoadSyncNet,
    ExportAvatar,
    LoadAvatarToGo,
]


class Extension(ComfyExtension):
    """What this pack adds to ComfyUI."""

    async def on_load(self) -> None:
        host.register_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
