"""The node that adds a person of the same clip, who speaks beside the avatar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.latest import io

from ..udh_core.avatar.folder import Avatar
from ..udh_core.rendering.speakers import Speaker
from .host import media, wording
from .types import AVATAR, CATEGORY, GENERATOR, OTHERS, Beside, MakesFiles, Trained, reopened


class AddSpeaker(MakesFiles):
    """Avatar + generator + speech → one more who speaks in a render."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_AddSpeaker",
            display_name="Add Speaker",
            category=CATEGORY,
            description="Another person of the same clip, who speaks at the same time: two faces in one frame, each "
            "with a sound of its own. Lip Sync Render draws all mouths into each frame, and mixes the sounds.",
            search_aliases=["two people", "several faces", "multiple speakers", "dialogue", "conversation"],
            inputs=[
                AVATAR.Input(
                    "avatar",
                    tooltip="Another face of the clip: made of the same file and part, with another face_index or "
                    "bounding_box in Detect Landmarks.",
                ),
                GENERATOR.Input("generator", tooltip="The one that was trained on this face."),
                io.Audio.Input(
                    "audio", tooltip="What this person says, from the first frame on; silence where the other speaks."
                ),
                OTHERS.Input("others", optional=True, tooltip="From another Add Speaker: a third person, and so on."),
            ],
            outputs=[OTHERS.Output(display_name="others", tooltip="For Lip Sync Render.")],
        )

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        audio: Mapping[str, Any] | None,
        others: tuple[Beside, ...] = (),
    ) -> io.NodeOutput:
        return io.NodeOutput((*others, Beside(avatar, generator, media.sound_file(audio, "Add Speaker"))))


def speakers(others: Sequence[Beside]) -> list[Speaker]:
    """As the core takes them, as they are on disk now; MismatchError as in `reopened`."""
    return [Speaker(reopened(one.avatar, "video", "track"), one.generator.path, one.sound) for one in others]
