"""The nodes, thin over udh_core: each has a schema and calls the core. Only `host` uses ComfyUI's program."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .evaluate import SyncReport
from .export import ExportAvatar
from .features import ExtractAudioFeatures
from .host import folders, live_pages, queueing
from .live import LivePreview
from .mouths import PasteMouths
from .overlay import SaveOverlay
from .person import LoadPerson
from .prepare import DetectLandmarks, LoadAvatarVideo
from .render import LipSyncRender, MuxVideo
from .saved import LoadAvatar, LoadBundle, LoadGenerator, LoadSyncNet
from .speakers import AddSpeaker
from .train import TrainGenerator, TrainSyncNet

NODES: list[type[io.ComfyNode]] = [
    LoadAvatarVideo,
    DetectLandmarks,
    ExtractAudioFeatures,
    TrainSyncNet,
    TrainGenerator,
    LipSyncRender,
    AddSpeaker,
    LivePreview,
    PasteMouths,
    MuxVideo,
    SaveOverlay,
    SyncReport,
    LoadPerson,
    LoadAvatar,
    LoadGenerator,
    LoadSyncNet,
    ExportAvatar,
    LoadBundle,
]


class Extension(ComfyExtension):
    """What this pack adds to ComfyUI."""

    async def on_load(self) -> None:
        folders.register_folder()
        queueing.register()
        live_pages.register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
