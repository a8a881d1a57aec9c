"""Where the mouths of a render are, for other nodes; and the node that pastes them back after a restorer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import torch
from comfy_api.latest import InputImpl, io

from ..udh_core.errors import MismatchError
from ..udh_core.rendering.mouths import paste_mouths
from ..udh_core.rendering.options import RenderOptions
from ..udh_core.rendering.places import places_of
from .host import display, folders, made, wording, worker
from .host.frames import Frames
from .types import CATEGORY, PLACED, MakesFiles, Placed, check_alone, reopened, widget

BOX = ("x", "y", "width", "height")  # of core's BOUNDING_BOX, px


class PasteMouths(MakesFiles):
    """Restored face crops of a render → the video with them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_PasteMouths",
            display_name="Paste Mouths",
            category=CATEGORY,
            description="Pastes the mouths of Lip Sync Render back into the clip after an upscaler or a face restorer "
            "has worked on them, with the same soft edge. All other pixels stay the clip's own, and the whole frames "
            "never lie in memory.",
            search_aliases=["paste back", "restore face", "face restoration", "uncrop", "composite mouth"],
            inputs=[
                io.Image.Input(
                    "mouths",
                    tooltip="The mouths of Lip Sync Render, all of them, restored or enlarged to any size.",
                ),
                PLACED.Input("placed", tooltip="From the same Lip Sync Render."),
                widget(RenderOptions, "crf"),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The mp4 with its sound, in ComfyUI's temp folder: connect Save Video.",
                )
            ],
        )

    @classmethod
    @wording.reported
    def execute(cls, mouths: torch.Tensor, placed: Placed, crf: int) -> io.NodeOutput:
        check_alone(placed, "Paste Mouths")
        if len(mouths) != placed.frames:
            raise MismatchError(
                f"Paste Mouths got {len(mouths)} mouths for {placed.frames} frames; connect all that Lip Sync Render "
                "gave, in their order"
            )
        avatar = reopened(placed.avatar, "video", "track").redrawn_in(placed.generator.info.crop)
        options = replace(placed.options, crf=crf)
        out = folders.temp_folder() / f"{avatar.root.name}-{uuid4().hex[:16]}.mp4"
        worker.run_job(paste_mouths(avatar, _pictures(mouths), placed.frames, placed.sound, out, options))
        made.note(out)
        display.say(f"{placed.frames} mouths of {mouths.shape[2]}×{mouths.shape[1]} px")
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)))


def where(placed: Placed, mask: Frames) -> tuple[object, Placed, list[list[dict[str, int]]]]:
    """Outputs of a render: its MASK, which is `mask`, where that is wanted; `placed`; BOUNDING_BOX of each frame.

    Black, and no box, where nothing was drawn.
    """
    people = (placed.avatar.redrawn_in(placed.generator.info.crop), *placed.others)
    found = [
        places_of(one, placed.frames, placed.options, [other for other in people if other is not one]) for one in people
    ]
    kept = mask.space((placed.frames, *found[0].shape)) if mask.are_wanted else None
    boxes = []
    for k in range(placed.frames):
        if kept is not None:
            kept[k] = np.max([places.mask(k) for places in found], axis=0)
        there = [box for places in found if (box := places.box(k)) is not None]
        boxes.append([dict(zip(BOX, box, strict=True)) for box in there])
    return mask.image(), placed, boxes


def _pictures(mouths: torch.Tensor) -> Iterator[np.ndarray]:
    """(S, S, 3) uint8 of each of an IMAGE (N, S, S, C), one after the other; what is beside RGB is left out."""
    for mouth in mouths:
        yield (mouth[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
