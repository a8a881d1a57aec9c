"""Nodes of another pack: sounds of every kind, images that are kept to look at, a model, and nodes that expand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import comfy.model_management
import comfy.model_patcher
import torch
from comfy_execution.graph_utils import GraphBuilder

import nodes

RENDER = {
    "when_audio_longer": "bounce",
    "when_audio_shorter": "cut",
    "feather": 0.1,
    "crf": 20,
    "amplitude": 1.0,
    "rest": True,
}


class _Node:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    TAKES: ClassVar[dict[str, tuple]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict:  # noqa: N802
        return {"required": cls.TAKES}


class Given(_Node):
    """Hands out what the test has put under a key, as AUDIO."""

    RETURN_TYPES = ("AUDIO",)
    TAKES: ClassVar[dict[str, tuple]] = {"key": ("STRING", {})}
    values: ClassVar[dict[str, Any]] = {}

    def run(self, key: str) -> tuple:
        return (self.values[key],)


class Kept(_Node):
    """Keeps the images it gets, the last ones under a key."""

    TAKES: ClassVar[dict[str, tuple]] = {"images": ("IMAGE", {}), "key": ("STRING", {})}
    OUTPUT_NODE = True
    images: ClassVar[dict[str, torch.Tensor]] = {}

    def run(self, images: torch.Tensor, key: str) -> dict:
        self.images[key] = images
        return {"ui": {"count": [len(images)]}}


class _Expanding(_Node, ABC):
    """A render in an expansion, as loops and macros make it."""

    TAKES: ClassVar[dict[str, tuple]] = {
        "avatar": ("UDH_AVATAR", {"rawLink": True}),
        "generator": ("UDH_GENERATOR", {"rawLink": True}),
        "audio": ("AUDIO", {"rawLink": True}),
        "crf": ("INT", {"default": 20}),
    }

    def run(self, avatar: list, generator: list, audio: list, crf: int) -> dict:
        graph = GraphBuilder()
        settings = {**RENDER, "crf": crf, "avatar": avatar, "generator": generator, "audio": audio}
        return self.around(graph, graph.node("UDH_LipSyncRender", **settings))

    @abstractmethod
    def around(self, graph: GraphBuilder, render: Any) -> dict:
        """What becomes of the render's outputs: ComfyUI's answer of a node that expands."""


class HandsOnFrames(_Expanding):
    """Its own output is that of the render."""

    RETURN_TYPES = ("IMAGE",)

    def around(self, graph: GraphBuilder, render: Any) -> dict:
        return {"result": (render.out(1),), "expand": graph.finalize()}


class FlipsFrames(_Expanding):
    """Another node of the expansion takes the frames."""

    RETURN_TYPES = ("IMAGE",)

    def around(self, graph: GraphBuilder, render: Any) -> dict:
        flipped = graph.node("ImageFlip", image=render.out(1), flip_method="y-axis: horizontally")
        return {"result": (flipped.out(0),), "expand": graph.finalize()}


def loaded_model() -> comfy.model_patcher.ModelPatcher:
    """A model that ComfyUI holds on its device, as a TTS or an upscaler would."""
    device = comfy.model_management.get_torch_device()
    model = comfy.model_patcher.CoreModelPatcher(torch.nn.Linear(8, 8), load_device=device, offload_device=device)
    comfy.model_management.load_models_gpu([model])
    return model


def is_loaded(model: comfy.model_patcher.ModelPatcher) -> bool:
    return any(loaded.model is model for loaded in comfy.model_management.current_loaded_models)


def register() -> None:
    """Make these nodes known to ComfyUI."""
    own = (Given, Kept, HandsOnFrames, FlipsFrames)
    nodes.NODE_CLASS_MAPPINGS.update({f"Test{one.__name__}": one for one in own})
