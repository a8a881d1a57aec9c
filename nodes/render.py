"""Nodes that render: an avatar speaks; a picture and a sound become an mp4."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.errors import OptionError
from ..udh_core.media.probe import picture_info
from ..udh_core.media.transcode import mux
from ..udh_core.rendering.options import RenderOptions, WhenLonger, WhenLost, WhenShorter
from ..udh_core.rendering.render import render
from ..udh_core.speech.encoders import weight_files
from .host import display, folders, made, media, prompt, wording, worker
from .host.device import for_inference
from .host.frames import Frames
from .types import AVATAR, CATEGORY, FEATURES, GENERATOR, UNLINKED, Features, MakesFiles, Trained, reopened, widget

FRAMES_OUTPUT = 1
STAGES = {"features": 10.0, "compile": 1.0, "frames": 89.0}  # and how long each takes in relation to the others
SETTINGS = ("when_audio_longer", "when_audio_shorter", "feather", "crf", "amplitude", "rest")


class LipSyncRender(io.ComfyNode):
    """Avatar + generator + speech → a video file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LipSyncRender",
            display_name="Lip Sync Render",
            category=CATEGORY,
            description="Makes the avatar say the audio. The video is a file, so any length fits; the frames output "
            "is only filled when it is connected.",
            search_aliases=["lip sync", "talking head", "dub"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                AVATAR.Input(
                    "avatar",
                    tooltip="From Detect Landmarks, Load Avatar or Load Avatar Bundle; the one the generator was "
                    "trained on.",
                ),
                GENERATOR.Input("generator", tooltip="From Train Generator, Load Generator or Load Avatar Bundle."),
                *(widget(RenderOptions, name) for name in SETTINGS),
                io.Audio.Input(
                    "audio", optional=True, tooltip="What the avatar shall say: any language, any length, any TTS node."
                ),
                FEATURES.Input(
                    "features",
                    optional=True,
                    tooltip="Features of that audio, of the generator's own encoder. Made by itself when not "
                    "connected.",
                ),
                widget(RenderOptions, "lost", optional=True),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The mp4 with its sound, in ComfyUI's temp folder: connect Save Video.",
                ),
                io.Image.Output(
                    display_name="frames",
                    tooltip="All frames as they were drawn, before the mp4 is compressed, for upscalers; "
                    "needs memory for all of them.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second, for Create Video."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        """A result without frames will not do once the frames are wanted."""
        return f"{made.state()} {prompt.linked(cls.hidden.unique_id, FRAMES_OUTPUT)}"

    @classmethod
    def validate_inputs(cls, rest: bool | None, audio: object = UNLINKED, features: object = UNLINKED) -> bool:
        return wording.required(lambda: _check_speech(audio is not UNLINKED or features is not UNLINKED))

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        when_audio_longer: WhenLonger,
        when_audio_shorter: WhenShorter,
        feather: float,
        crf: int,
        amplitude: float,
        rest: bool,
        audio: Mapping[str, Any] | None = None,
        features: Features | None = None,
        lost: WhenLost = "pass",
    ) -> io.NodeOutput:
        options = RenderOptions(
            when_audio_longer, when_audio_shorter, crf, feather=feather, rest=rest, amplitude=amplitude, lost=lost
        )
        sound = features.sound if audio is None and features else media.sound_file(audio, "Lip Sync Render")
        frames = Frames(prompt.linked(cls.hidden.unique_id, FRAMES_OUTPUT))
        out = _rendered(reopened(avatar, "video", "track"), generator, sound, options, features, frames)
        made.note(out)
        display.say(_described(out))
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), frames.image(), float(avatar.info.fps))


def _check_speech(linked: bool) -> None:
    """OptionError or WeightsError where the render could not begin."""
    if not linked:
        raise OptionError("Lip Sync Render has nothing to say; connect a sound to `audio`")
    folders.weights(folders.SPEECH)


def _rendered(
    avatar: Avatar, generator: Trained, sound: Path, options: RenderOptions, features: Features | None, frames: Frames
) -> Path:
    """The finished mp4, and `frames` filled; a mp4 with the same content is not made twice while ComfyUI runs."""
    parts = (avatar.root, avatar.identity, folders.stamp(avatar.root / "avatar.json"), generator.path)
    parts += (folders.stamp(generator.path), sound.stem, options)
    parts += (features.values.encoder, features.sound.stem) if features else ()
    out = folders.temp_folder() / f"{avatar.root.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.mp4"
    if out.is_file() and not frames.are_wanted:
        return out
    driving, space = features.values if features else None, frames.space if frames.are_wanted else None
    models = folders.weights(folders.SPEECH, *weight_files(generator.info.encoder))
    with for_inference(generator.info.encoder, generator.path) as device:
        worker.run_job(
            render(
                avatar,
                generator.path,
                sound,
                out,
                options,
                driving=driving,
                space=space,
                models=models,
                device=device,
            ),
            STAGES,
        )
    return out


def _described(video: Path) -> str:
    info = picture_info(video)
    return f"{info.frame_count} frames, {info.duration_s:.1f} s"


class MuxVideo(MakesFiles):
    """A picture and a sound → an mp4 in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_MuxVideo",
            display_name="Mux Video",
            category=CATEGORY,
            description="Joins a video with a sound and saves it as an mp4 in the output folder. The picture is "
            "copied; one that an mp4 cannot hold is encoded anew, almost without loss.",
            search_aliases=["combine video audio", "save video with sound"],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            inputs=[
                io.Video.Input("video", tooltip="The picture; a sound it already has is replaced."),
                io.Audio.Input("audio", tooltip="The sound, at full length, from the first frame on."),
                io.String.Input(
                    "filename_prefix",
                    default="udh/talking",
                    tooltip="Folder and beginning of the file name below ComfyUI's output folder; a number is added.",
                ),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="The saved mp4, read from disk when needed.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None) -> bool | str:
        return wording.checked(lambda: folders.check_prefix(filename_prefix or "udh"))

    @classmethod
    @wording.reported
    def execute(cls, video: object, audio: Mapping[str, Any] | None, filename_prefix: str) -> io.NodeOutput:
        sound = media.sound_file(audio, "Mux Video")
        picture = media.whole_clip(video)
        info = picture_info(picture)
        out, subfolder = folders.next_output(filename_prefix, (info.width, info.height))
        metadata = prompt.saved_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        worker.run_job(mux(picture, sound, out, metadata))
        made.note(out)
        display.say(f"output/{Path(subfolder, out.name).as_posix()}")
        preview = ui.PreviewVideo([ui.SavedResult(out.name, subfolder, io.FolderType.output)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), ui=preview)
