"""The node that saves the mouth of a render alone, for a video editor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comfy_api.latest import io

from ..udh_core.rendering.render import render
from ..udh_core.speech.encoders import weight_files
from .host import display, folders, made, wording, worker
from .host.device import for_inference
from .types import CATEGORY, PLACED, MakesFiles, Placed, check_alone, reopened

KINDS = {"ProRes 4444": ".mov", "PNG files": ""}  # the ending of what is saved; a folder has none
STAGES = {"features": 10.0, "frames": 90.0}


class SaveOverlay(MakesFiles):
    """A render → its mouth alone, with alpha, in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_SaveOverlay",
            display_name="Save Overlay",
            category=CATEGORY,
            description="Saves the mouth of Lip Sync Render alone, with an alpha channel and the sound, to be laid "
            "over the clip in a video editor. Any length fits: the frames are drawn once more, and never lie in "
            "memory.",
            search_aliases=["alpha", "transparent video", "prores 4444", "png sequence", "compositing", "video editor"],
            is_output_node=True,
            inputs=[
                PLACED.Input("placed", tooltip="From Lip Sync Render, with whose settings it is drawn."),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default=next(iter(KINDS)),
                    tooltip="ProRes 4444: one .mov with straight alpha and uncompressed sound. PNG files: a folder "
                    "with a picture for every frame, and sound.wav.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="udh/overlay",
                    tooltip="Folder and beginning of the file name below ComfyUI's output folder; a number is added.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file or folder lies.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None) -> bool | str:
        return wording.checked(lambda: folders.check_prefix(filename_prefix or "udh"))

    @classmethod
    @wording.reported
    def execute(cls, placed: Placed, kind: str, filename_prefix: str) -> io.NodeOutput:
        check_alone(placed, "Save Overlay")
        avatar, info = reopened(placed.avatar, "video", "track"), placed.generator.info
        out, subfolder = folders.next_output(filename_prefix, (avatar.info.width, avatar.info.height), KINDS[kind])
        options = replace(placed.options, overlay=True)
        models = folders.weights(folders.SPEECH, *weight_files(info.encoder))
        with for_inference(info.encoder, placed.generator.path) as device:
            work = render(avatar, placed.generator.path, placed.sound, out, options, models=models, device=device)
            worker.run_job(work, STAGES)
        made.note(out)
        display.say(f"output/{Path(subfolder, out.name).as_posix()}")
        return io.NodeOutput(str(out))
