"""The node on which a trained person talks live: what is typed, uploaded, or spoken into a microphone."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..udh_core.avatar.folder import Avatar
from ..udh_core.live.options import ServeOptions
from ..udh_core.rendering.live_person import LivePerson
from ..udh_core.rendering.options import RenderOptions, WhenLonger, WhenLost
from ..udh_core.speech.encoders import weight_files
from .host import display, folders, live_pages, made, wording
from .host.device import for_inference
from .types import AVATAR, CATEGORY, GENERATOR, MakesFiles, Trained, on_disk, reopened, widget


class LivePreview(MakesFiles):
    """Avatar + generator → a page, in the node, on which they talk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LivePreview",
            display_name="Live Preview",
            category=CATEGORY,
            description="The person talks live, in the node: type some English words, choose a sound file, or speak "
            "into the microphone. Run it once, then press Start. The network is in memory as long as a page is open.",
            search_aliases=["live", "real time", "stream", "talk", "chat", "microphone", "preview person"],
            is_output_node=True,
            inputs=[
                AVATAR.Input("avatar", tooltip="From Load Person, Detect Landmarks or Load Avatar."),
                GENERATOR.Input("generator", tooltip="From Load Person, Train Generator or Load Generator."),
                widget(RenderOptions, "when_audio_longer"),
                widget(RenderOptions, "amplitude"),
                widget(RenderOptions, "lost"),
                widget(RenderOptions, "mark"),
                widget(ServeOptions, "sessions"),
            ],
            outputs=[
                io.String.Output(
                    display_name="address",
                    tooltip="Of the page, below that of ComfyUI, as /udh/live/…: to open it elsewhere.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls) -> bool:
        return wording.required(lambda: folders.weights(folders.SPEECH))

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        when_audio_longer: WhenLonger,
        amplitude: float,
        lost: WhenLost,
        mark: str,
        sessions: int,
    ) -> io.NodeOutput:
        options = RenderOptions(when_audio_longer, amplitude=amplitude, lost=lost, mark=mark)
        found = reopened(avatar, "video", "track")
        with for_inference(generator.info.encoder, generator.path) as device:
            _person(found, generator, options, device)  # what does not work is said now, and room is made for it
        stamps = folders.stamp(found.root / "avatar.json"), folders.stamp(generator.path)
        content = (found.root, generator.path, *stamps, options, sessions)
        page = live_pages.address(content, lambda device: _person(avatar, generator, options, device), sessions)
        made.note(Path(page), lambda: live_pages.is_known(page))
        display.say("press Start")
        return io.NodeOutput(page, ui={"udh_live": [page]})


def _person(avatar: Avatar, generator: Trained, options: RenderOptions, device: str) -> LivePerson:
    """Opened, if they are still who they were; errors as in `LivePerson`."""
    found = on_disk(avatar, "video", "track")
    models = folders.weights(folders.SPEECH, *weight_files(generator.info.encoder))
    return LivePerson(found, generator.path, options, models=models, device=device)
