"""Nodes that render: an avatar speaks; a picture and a sound become an mp4."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui

from ..udh_core.avatar.folder import Avatar
from ..udh_core.errors import OptionError
from ..udh_core.media.probe import picture_info
from ..udh_core.media.transcode import mux
from ..udh_core.rendering.options import Codec, RenderOptions, WhenLonger, WhenLost, WhenShorter
from ..udh_core.rendering.render import render
from ..udh_core.speech.encoders import weight_files
from .host import display, folders, made, media, prompt, wording, worker
from .host.device import for_inference
from .host.frames import Frames
from .mouths import where
from .speakers import speakers
from .types import (
    AVATAR,
    BOUNDING_BOX,
    CATEGORY,
    FEATURES,
    GENERATOR,
    OTHERS,
    PLACED,
    UNLINKED,
    Beside,
    Features,
    MakesFiles,
    Placed,
    Trained,
    reopened,
    widget,
)

WHERE_LINKED = {1: "frames", 3: "mouths", 4: "mask"}  # the outputs that are only filled where a node takes them
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
            search_aliases=["lip sync", "talking head", "wav2lip", "dub", "speak"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                AVATAR.Input(
                    "avatar",
                    tooltip="From Load Person, Detect Landmarks or Load Avatar; the one the generator was trained on.",
                ),
                GENERATOR.Input("generator", tooltip="From Load Person, Train Generator or Load Generator."),
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
                *(
                    widget(RenderOptions, name, optional=True)
                    for name in ("lost", "start_s", "ends_at_rest", "another_clip", "codec", "mark")
                ),
                OTHERS.Input(
                    "others",
                    optional=True,
                    tooltip="From Add Speaker: who else speaks in this clip. All mouths are drawn, the sounds are "
                    "mixed, and the video lasts as long as the longest.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        """A result without frames will not do once the frames are wanted."""
        linked = [prompt.linked(cls.hidden.unique_id, output) for output in WHERE_LINKED]
        return f"{made.state()} {' '.join(linked)}"

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
        start_s: float = 0.0,
        ends_at_rest: bool = False,
        another_clip: bool = False,
        codec: Codec = "auto",
        mark: str = "",
        others: tuple[Beside, ...] = (),
    ) -> io.NodeOutput:
        options = RenderOptions(when_audio_longer, when_audio_shorter, crf, feather=feather, rest=rest, lost=lost)
        options = replace(options, amplitude=amplitude, start_s=start_s, ends_at_rest=ends_at_rest)
        options = replace(options, another_clip=another_clip, codec=codec, mark=mark)
        sound = features.sound if audio is None and features else media.sound_file(audio, "Lip Sync Render")
        found = reopened(avatar, "video", "track")
        kept = {what: Frames(prompt.linked(cls.hidden.unique_id, n), what) for n, what in WHERE_LINKED.items()}
        out = _rendered(found, generator, sound, options, features, kept, others)
        made.note(out)
        display.say(_described(out))
        beside = tuple(one.avatar.redrawn_in(one.generator.info.crop) for one in others)
        placed = Placed(found, generator, sound, options, picture_info(out).frame_count, beside)
        pictures = kept["frames"].image(), float(found.info.fps), kept["mouths"].image()
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), *pictures, *where(placed, kept["mask"]))


def _outputs() -> list[io.Output]:
    return [
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
        io.Image.Output(
            display_name="mouths",
            tooltip="The face crop of every frame, as it was drawn: for upscalers and restorers, then Paste "
            "Mouths. A fraction of the frames' memory.",
        ),
        io.Mask.Output(
            display_name="mask",
            tooltip="Where the mouth was drawn, in every frame: 1 = all of it, with the soft edge that it was "
            "pasted with.",
        ),
        PLACED.Output("placed", tooltip="Where the mouths belong, for Paste Mouths and Save Overlay."),
        BOUNDING_BOX.Output(
            "face_boxes",
            tooltip="The square of the face crop in every frame, px, for nodes that crop by boxes.",
        ),
    ]


def _check_speech(linked: bool) -> None:
    """OptionError or WeightsError where the render could not begin."""
    if not linked:
        raise OptionError("Lip Sync Render has nothing to say; connect a sound to `audio`")
    folders.weights(folders.SPEECH)


def _rendered(
    avatar: Avatar,
    generator: Trained,
    sound: Path,
    options: RenderOptions,
    features: Features | None,
    kept: Mapping[str, Frames],
    others: Sequence[Beside],
) -> Path:
    """The finished mp4, with what is kept filled; a mp4 with the same content is not made twice while ComfyUI runs."""
    parts = (avatar.root, avatar.identity, folders.stamp(avatar.root / "avatar.json"), generator.path)
    parts += (folders.stamp(generator.path), sound.stem, options)
    parts += (features.values.encoder, features.sound.stem) if features else ()
    parts += tuple((one.avatar.identity, folders.stamp(one.generator.path), one.sound.stem) for one in others)
    out = folders.temp_folder() / f"{avatar.root.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.mp4"
    frames, mouths = kept["frames"], kept["mouths"]
    if out.is_file() and not frames.are_wanted and not mouths.are_wanted:
        return out
    driving = features.values if features else None
    trained = [generator, *(one.generator for one in others)]
    models = folders.weights(folders.SPEECH, *(name for one in trained for name in weight_files(one.info.encoder)))
    mouths_wanted = mouths.linked == "yes" or (mouths.are_wanted and not others)
    with for_inference(generator.info.encoder, *(one.path for one in trained)) as device:
        worker.run_job(
            render(
                avatar,
                generator.path,
                sound,
                out,
                options,
                others=speakers(others),
                driving=driving,
                space=frames.space if frames.are_wanted else None,
                mouths=mouths.space if mouths_wanted else None,
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
