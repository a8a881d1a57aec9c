"""Ultralight Digital Human: ComfyUI nodes that learn a person's mouth from a short video and make it say any audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """What ComfyUI calls; the nodes are imported here, so that the package can be looked at without ComfyUI."""
    from .nodes import Extension

    return Extension()
