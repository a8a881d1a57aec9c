"""Clips in and out: a video becomes an avatar folder; a picture and a sound become an mp4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui

from ..udh_core.avatar.folder import open_avatar
from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.avatar.prepare import identity_of, import_clip
from ..udh_core.errors import FormatError, OptionError
from ..udh_core.media.audio import load_sound
from ..udh_core.media.probe import picture_info
from ..udh_core.media.transcode import mux
from ..udh_core.media.video import read_frames
from ..udh_core.progress import Progress
from . import host
from .sockets import AVATAR, CATEGORY

NO_FILE = "(none)"


def _part() -> list[io.Input]:
    return [
        io.Float.Input(
            "start_s",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.1,
            tooltip="Leave out this many seconds at the start of the clip.",
        ),
        io.Float.Input(
            "duration_s",
            default=0.0,
            min=0.0,
            max=86400.0,
            step=0.1,
            tooltip="Take this many seconds of the clip; 0 = up to its end.",
        ),
    ]


class LoadAvatarVideo(io.ComfyNode):
    """A clip of a talking person → an avatar folder with its picture at a constant rate and its sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_LoadAvatarVideo",
            display_name="Load Avatar Video",
            category=CATEGORY,
            description="Reads a clip of one person talking to the camera and stores it as an avatar. Streams: the "
            "frames never lie in memory. Give one to five minutes with a well-lit face and clear speech; 5 seconds "
            "are the least.",
            search_aliases=["lip sync", "talking head", "digital human"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *host.input_videos()],
                    upload=io.UploadType.video,
                    tooltip="The clip, from ComfyUI's input folder or uploaded here. Not used when `video` is "
                    "connected.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="What the avatar is called in models/udh/avatars. Empty: like the video file. Another clip "
                    "under the same name replaces the one before.",
                ),
                io.Int.Input(
                    "crop_size",
                    default=PrepareOptions.crop_px,
                    min=96,
                    max=512,
                    step=32,
                    tooltip="Size in px at which the mouth region is learnt. 160 is fast, 256 is good for faces up "
                    "to 400 px wide, 320 and 512 are for close-ups and need a GPU.",
                ),
                *_part(),
                io.Video.Input(
                    "video", optional=True, tooltip="A clip from another node, e.g. Load Video; used instead of `file`."
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Speech that belongs to the clip, in sync with it, instead of the clip's own sound.",
                ),
            ],
            outputs=[
                AVATAR.Output("avatar", tooltip="The stored clip; goes into Detect Landmarks."),
                io.Audio.Output(display_name="audio", tooltip="The clip's sound; goes into Extract Audio Features."),
                io.Image.Output(display_name="first_frame", tooltip="The first frame, to see what was loaded."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        known = file == NO_FILE or host.input_path(file).is_file()
        return True if known else f"there is no file {file} in ComfyUI's input folder; choose or upload one"

    @classmethod
    def fingerprint_inputs(
        cls, file: str, name: str = "", crop_size: int = 0, start_s: float = 0.0, duration_s: float = 0.0, **_: object
    ) -> str:
        """The file's state, and whether the folder has been taken over by another clip since."""
        if file in (NO_FILE, None):  # a linked input is None here; the node that gives it is asked itself
            return ""
        source = host.input_path(file)
        if not source.is_file() or None in (name, crop_size, start_s, duration_s):
            return host.stamp(source)
        try:
            root = host.new_path("avatars", host.safe_name(name, source.stem))
        except OptionError:  # no name: running the node says so
            return host.stamp(source)
        own = (identity_of(source, start_s, duration_s or None), crop_size)
        return f"{host.stamp(source)} {'' if _made_from(root) in (None, own) else 'taken over'}"

    @classmethod
    def execute(
        cls,
        file: str,
        name: str,
        crop_size: int,
        start_s: float,
        duration_s: float,
        video: object = None,
        audio: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        source, start_s, length_s = _chosen_part(file, video, start_s, duration_s)
        fallback = source.stem if video is None or source.parent != host.temp_folder() else "avatar"
        root = host.new_path("avatars", host.safe_name(name, fallback))
        sound = None if audio is None else host.sound_file(audio, "Load Avatar Video")
        options = PrepareOptions(crop_size, start_s=start_s, duration_s=length_s)
        host.pull(import_clip(source, root, options, audio=sound), describe)
        avatar = open_avatar(root, ("video", "audio"))
        own_sound = load_sound(sound or source, start_s=0.0 if sound else start_s, duration_s=length_s)
        first = next(read_frames(avatar.video, count=1))
        return io.NodeOutput(avatar, host.audio_of(*own_sound), host.image_of(first))


def _made_from(root: Path) -> tuple[str, int] | None:
    """(identity, crop size) of the avatar in a folder; None where there is none yet, ("", 0) where it is unfinished."""
    if not (root / "avatar.json").is_file():
        return None
    try:
        avatar = open_avatar(root, ("video",))
    except FormatError:  # its import was stopped, or it is damaged: the node has to run
        return "", 0
    return avatar.identity, avatar.crop.size


def _chosen_part(file: str, video: object, start_s: float, duration_s: float) -> tuple[Path, float, float | None]:
    """(file, start_s, duration_s): the node's own trim inside the trim that a VIDEO brings along."""
    length_s = duration_s or None
    if video is None:
        if file == NO_FILE:
            raise OptionError("Load Avatar Video has no clip: choose or upload a file, or connect a video")
        return host.input_path(file), start_s, length_s
    source, video_start_s, video_length_s = host.clip_of(video)
    if video_length_s is not None:
        left_s = max(video_length_s - start_s, 0.01)
        length_s = min(length_s or left_s, left_s)
    return source, video_start_s + start_s, length_s


def describe(progress: Progress) -> host.Shown:
    """A stage of the preparation in words."""
    words = {"video": "reading the picture", "audio": "reading the sound", "landmarks": "finding the face"}
    words |= {"crops": "cutting out the mouth region", "features": "listening"}
    counted = f" {progress.done} / {progress.total}" if progress.total > 1 else ""
    return host.Shown(f"{words.get(progress.stage, progress.stage)}{counted}", progress.done / max(progress.total, 1))


class MuxVideo(io.ComfyNode):
    """A picture and a sound → an mp4 in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_MuxVideo",
            display_name="Mux Video",
            category=CATEGORY,
            description="Joins a video with a sound, without encoding the picture again, and saves it as an mp4 in "
            "the output folder.",
            search_aliases=["combine video audio", "save video with sound"],
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
    def execute(cls, video: object, audio: Mapping[str, Any] | None, filename_prefix: str) -> io.NodeOutput:
        sound = host.sound_file(audio, "Mux Video")
        picture = host.whole_clip(video)
        info = picture_info(picture)
        out, subfolder = host.next_output(filename_prefix, (info.width, info.height))
        steps = mux(picture, sound, out)
        host.pull(steps, lambda p: host.Shown(f"joining picture and sound {p.done} / {p.total}", p.fraction))
        preview = ui.PreviewVideo([ui.SavedResult(out.name, subfolder, io.FolderType.output)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), ui=preview)
