"""The node that exports a trained person as one file."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.export.bundle import DURATION_S, export_bundle
from . import names
from .host import display, folders, made, wording, worker
from .types import AVATAR, CATEGORY, GENERATOR, MakesFiles, Trained, reopened


class ExportAvatar(MakesFiles):
    """Avatar + generator → a bundle."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_ExportAvatar",
            display_name="Export Avatar",
            category=CATEGORY,
            description="Makes one small file of a trained person, an avatar bundle: the generator, some seconds of "
            "the clip, and where the face is. It renders on any computer with these nodes, without the clip and the "
            "training data.",
            search_aliases=["share avatar", "avatar bundle", "avatar to go"],
            is_output_node=True,
            inputs=[
                AVATAR.Input(
                    "avatar", tooltip="From Detect Landmarks or Load Avatar; the one the generator was trained on."
                ),
                GENERATOR.Input("generator", tooltip="From Train Generator or Load Generator."),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Name of the file in models/udh/bundles. Empty: that of the avatar. An earlier file of "
                    "this avatar is replaced; a name that another one has gets a number.",
                ),
                io.Float.Input(
                    "start_s",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.1,
                    tooltip="Where in the clip the part begins that the file keeps, in seconds.",
                ),
                io.Float.Input(
                    "duration_s",
                    default=DURATION_S,
                    min=0.1,
                    max=86400.0,
                    step=0.1,
                    tooltip="How many seconds of the clip the file keeps. Longer speech plays them back and forth.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Path of the file.")],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        return wording.checked(lambda: folders.safe_name(name or "", "person"))

    @classmethod
    @wording.reported
    def execute(cls, avatar: Avatar, generator: Trained, name: str, start_s: float, duration_s: float) -> io.NodeOutput:
        found = reopened(avatar, "video", "track")
        out = names.of_checkpoint("bundles", name, found)
        worker.run_job(export_bundle(found, generator.path, out, start_s=start_s, duration_s=duration_s))
        made.note(out)
        display.say(f"{out.stat().st_size / 1e6:.1f} MB: models/udh/bundles/{out.name}")
        return io.NodeOutput(str(out), ui=ui.PreviewText(str(out)))
