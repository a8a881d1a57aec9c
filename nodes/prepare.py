"""Nodes that prepare an avatar: import a clip, then find the face in every frame of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from comfy_api.latest import io, ui

from ..udh_core.audit import audit
from ..udh_core.audit.contact_sheet import face_sheet, track_report
from ..udh_core.audit.plot import draw_audit
from ..udh_core.avatar import reuse
from ..udh_core.avatar.folder import Avatar, open_avatar
from ..udh_core.avatar.options import CONSENT, PrepareOptions
from ..udh_core.avatar.prepare import copy_import, import_clip, track_face
from ..udh_core.errors import OptionError
from ..udh_core.media.audio import load_sound
from ..udh_core.media.video import read_frames
from ..udh_core.progress import Progress, job
from . import names
from .host import display, folders, made, media, wording, worker
from .types import (
    AVATAR,
    BOUNDING_BOX,
    CATEGORY,
    FACE_LANDMARKS,
    UNLINKED,
    MakesFiles,
    given,
    reopened,
    still_on_disk,
    widget,
)

SHEET_FRAMES = 8
IMPORT_STAGES = {"video": 9.0, "audio": 1.0}  # and how long each takes in relation to the others
TRACK_STAGES = {"landmarks": 60.0, "crops": 8.0, "occlusion": 6.0, "offset": 2.0}
TRACK_STAGES |= {"audit picture": 3.0, "audit faces": 10.0, "audit frames": 3.0, "audit sound": 2.0, "report": 4.0}
NO_FILE = "(none)"
IMPORTED = ("video", "audio")  # the stages that Load Avatar Video makes


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
            f"are the least. {CONSENT}",
            search_aliases=["lip sync", "talking head", "digital human", "train face", "make a person"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *folders.input_videos()],
                    upload=io.UploadType.video,
                    tooltip="The clip, from ComfyUI's input folder or uploaded here. The dialog shows no .mov of "
                    "a phone: drop the file onto the node. Not used when `video` is connected.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="What the avatar is called in models/udh/avatars. Empty: like the video file. A name that "
                    "another clip has, or another part of this one, gets a number.",
                ),
                *(widget(PrepareOptions, name) for name in ("crop_px", "start_s", "duration_s")),
                io.Video.Input(
                    "video", optional=True, tooltip="A clip from another node, e.g. Load Video; used instead of `file`."
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Speech that belongs to the clip, in sync with it, instead of the clip's own sound. Its "
                    "beginning is left out with that of the clip.",
                ),
                widget(PrepareOptions, "audio_track", optional=True),
                widget(PrepareOptions, "video_track", optional=True),
            ],
            outputs=[
                AVATAR.Output("avatar", tooltip="The stored clip; goes into Detect Landmarks."),
                io.Audio.Output(display_name="audio", tooltip="The clip's sound; goes into Extract Audio Features."),
                io.Image.Output(display_name="first_frame", tooltip="The first frame, to see what was loaded."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None, name: str | None = None, video: object = UNLINKED) -> bool | str:
        wording.required(lambda: folders.weights(folders.SPEECH))
        return wording.checked(lambda: _check_choice(file, name, video is not UNLINKED))

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_: object) -> str:
        """The file's state, and whether what was made of it is still there."""
        if file in (NO_FILE, None):  # a linked input is None here; the node that gives it is asked itself
            return made.state()
        return f"{folders.stamp(folders.input_path(file))} {made.state()}"

    @classmethod
    @wording.reported
    def execute(
        cls,
        file: str,
        name: str,
        crop_px: int,
        start_s: float,
        duration_s: float,
        video: object = None,
        audio: Mapping[str, Any] | None = None,
        audio_track: int = 0,
        video_track: int = 0,
    ) -> io.NodeOutput:
        source, video_start_s, length_s = _chosen_part(file, video, start_s, duration_s)
        fallback = source.stem if video is None or source.parent != folders.temp_folder() else "avatar"
        sound = None if audio is None else media.sound_file(audio, "Load Avatar Video")
        options = PrepareOptions(
            crop_px, start_s=video_start_s, duration_s=length_s, audio_track=audio_track, video_track=video_track
        )
        root = names.of_clip(folders.safe_name(name, fallback), source, options, sound, start_s)
        models, new = folders.weights(folders.SPEECH), reuse.is_free(root)
        worker.run_job(
            import_clip(source, root, options, audio=sound, audio_start_s=start_s, models=models), IMPORT_STAGES
        )
        avatar = open_avatar(root, IMPORTED)
        made.note(root, _still_imported(root))
        display.say(_described(avatar, new))
        return _outputs(avatar, sound or source, start_s if sound else video_start_s, length_s)


def _outputs(avatar: Avatar, sound: Path, start_s: float, duration_s: float | None) -> io.NodeOutput:
    """The avatar, the sound of its part as it lies in the file, and its first frame."""
    whole = load_sound(sound, start_s=start_s, duration_s=duration_s, track=avatar.audio_track())
    return io.NodeOutput(avatar, media.audio_of(*whole), media.image_of(*read_frames(avatar.video, count=1)))


def _check_choice(file: str | None, name: str | None, linked: bool) -> None:
    """OptionError or FileError where there is no clip, or no name that can be. None: known when the node runs."""
    if name is not None:
        folders.safe_name(name, "")
    if file == NO_FILE and not linked:
        raise OptionError("Load Avatar Video has no clip; choose or upload a file, or connect a video")
    if file is not None and not linked:
        folders.check_input(file)


def _described(avatar: Avatar, new: bool) -> str:
    info = avatar.info
    size, rate = f"{info.width}×{info.height} px", f"{float(info.fps):g} fps"
    said = f"{info.duration_s:.1f} s, {info.frame_count} frames, {size}, {rate}; saved as {avatar.root.name}"
    return f"{said}. {CONSENT}" if new else said


def _still_imported(root: Path) -> Callable[[], bool]:
    """Asks whether the picture and the sound of an avatar are still those that lie in its folder now."""
    now = reuse.imported(root)
    return lambda: reuse.imported(root) == now


def _chosen_part(file: str, video: object, start_s: float, duration_s: float) -> tuple[Path, float, float | None]:
    """(file, start_s, duration_s): the node's own trim inside the trim that a VIDEO brings along."""
    length_s = given(duration_s)
    if video is None:
        _check_choice(file, None, False)
        return folders.input_path(file), start_s, length_s
    source, video_start_s, video_length_s = media.clip_of(video)
    if video_length_s is not None:
        left_s = max(video_length_s - start_s, 0.01)
        length_s = min(length_s or left_s, left_s)
    return source, video_start_s + start_s, length_s


class DetectLandmarks(MakesFiles):
    """The face of every frame: landmarks, aligned crops, and a report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_DetectLandmarks",
            display_name="Detect Landmarks",
            category=CATEGORY,
            description="Follows one face through the avatar's clip and cuts out the mouth region of every frame. "
            "What is done already is not done again. Then shows what is good and bad about the clip.",
            search_aliases=["face landmarks", "track face", "face mesh", "check clip"],
            inputs=[
                AVATAR.Input("avatar", tooltip="From Load Avatar Video."),
                *(widget(PrepareOptions, name) for name in ("face_index", "max_gap_s", "skip_lost")),
                FACE_LANDMARKS.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From ComfyUI's MediaPipe face nodes, of the first frame: the face nearest to its first "
                    "face is taken.",
                ),
                BOUNDING_BOX.Input(
                    "bounding_box",
                    optional=True,
                    extra_dict={"forceInput": True},
                    tooltip="A box in px of the first frame: the face nearest to its middle is taken.",
                ),
            ],
            outputs=[
                AVATAR.Output(
                    "tracked_avatar", display_name="avatar", tooltip="The avatar, ready to train on and to render."
                ),
                io.Image.Output(display_name="sheet", tooltip="Up to 8 frames with the landmarks drawn on."),
                io.String.Output(
                    display_name="report",
                    tooltip="Size of clip and face, then what is good and bad about the clip, the worst first.",
                ),
            ],
        )

    @classmethod
    @wording.reported
    def execute(
        cls,
        avatar: Avatar,
        face_index: int,
        max_gap_s: float,
        skip_lost: bool,
        face_landmarks: Mapping[str, Any] | None = None,
        bounding_box: object = None,
    ) -> io.NodeOutput:
        found = reopened(avatar, *IMPORTED)
        point = face_point(face_landmarks, bounding_box, (found.info.width, found.info.height))
        options = PrepareOptions(
            found.crop.size, face_index=face_index, face_point=point, max_gap_s=max_gap_s, skip_lost=skip_lost
        )
        models = folders.weights(*folders.FACE, folders.SPEECH)
        shown = worker.run_job(_track(found, names.of_face(found, options), options, models), TRACK_STAGES)
        made.note(shown.avatar.root, still_on_disk(shown.avatar))
        display.say(shown.verdict)
        picture = ui.PreviewImage(media.image_of(shown.picture), cls=cls)
        return io.NodeOutput(shown.avatar, media.image_of(*shown.sheet), shown.report, ui=picture)

    @classmethod
    def validate_inputs(cls, skip_lost: bool | None) -> bool:
        return wording.required(lambda: folders.weights(*folders.FACE, folders.SPEECH))


class Tracked(NamedTuple):
    """What is shown of a face that was followed."""

    avatar: Avatar
    verdict: str
    report: str
    picture: np.ndarray  # (H, W, 3) uint8, of the audit
    sheet: list[np.ndarray]  # each (S, S, 3) uint8


@job
def _track(avatar: Avatar, root: Path, options: PrepareOptions, models: Path) -> Generator[Progress, None, Tracked]:
    """Find the face, in the avatar's folder or another one, and say how good the clip is.

    The pictures are drawn here, so that Cancel need not wait.
    """
    if reuse.is_free(root):
        copy_import(avatar.root, root)
    tracked = yield from track_face(root, options, models=models).steps()
    checked = yield from audit(tracked, models=models).steps()
    yield Progress("report", 0)
    picture, sheet = draw_audit(tracked, checked), face_sheet(tracked, SHEET_FRAMES)
    report = f"saved as {root.name}\n{track_report(tracked)}\n{checked.to_text()}"
    return Tracked(tracked, checked.summary(), report, picture, sheet)


def face_point(
    face_landmarks: Mapping[str, Any] | None, bounding_box: object, size: tuple[int, int]
) -> tuple[float, float] | None:
    """(x, y) px in a frame of `size`: the middle of the face that another node found in the first frame; None where
    there is no other node. OptionError where it found none, or hands out something else.
    """
    try:
        if face_landmarks is not None:
            return _middle_of_landmarks(face_landmarks, size)
        return None if bounding_box is None else _middle_of_box(bounding_box)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        name = "bounding_box" if face_landmarks is None else "face_landmarks"
        raise OptionError(f"there is no face in `{name}`; choose one by `face_index`, and connect nothing") from error


def _middle_of_landmarks(found: Mapping[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) px of the first face of core's FACE_LANDMARKS."""
    face = next((face for frame in found["frames"] for face in frame), {})
    height, width = found.get("image_size", (size[1], size[0]))
    left, top, right, bottom = (float(v) for v in np.asarray(face["bbox_xyxy"]).reshape(-1)[:4])
    return (left + right) / 2 * size[0] / width, (top + bottom) / 2 * size[1] / height


def _middle_of_box(found: object) -> tuple[float, float]:
    """(x, y) px of core's BOUNDING_BOX, or of the first one where there is a list per frame and face."""
    box: Any = found
    while isinstance(box, list | tuple):
        box = box[0]
    return float(box["x"]) + float(box["width"]) / 2, float(box["y"]) + float(box["height"]) / 2
