"""Looking and listening: the face in every frame of an avatar, and features of a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comfy_api.latest import io, ui

from ..udh_core.audit import audit
from ..udh_core.audit.contact_sheet import face_sheet, track_report
from ..udh_core.audit.finding import Audit
from ..udh_core.audit.plot import draw_audit
from ..udh_core.avatar.folder import Avatar
from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.avatar.prepare import track_face
from ..udh_core.media.audio import load_waveform
from ..udh_core.speech import features
from ..udh_core.speech.encoders import ENCODERS, weight_files
from . import host
from .media import describe
from .sockets import AVATAR, BOUNDING_BOX, CATEGORY, FACE_LANDMARKS, FEATURES, Features, reopened

FACE_WEIGHTS = ("face_detection_short_range.tflite", "face_landmark.tflite")
SHEET_FRAMES = 8


class DetectLandmarks(io.ComfyNode):
    """The face of every frame: landmarks, aligned crops, and a report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_DetectLandmarks",
            display_name="Detect Landmarks",
            category=CATEGORY,
            description="Follows one face through the avatar's clip and cuts out the mouth region of every frame. "
            "What is done already is not done again. Then shows what is good and bad about the clip.",
            inputs=[
                AVATAR.Input("avatar", tooltip="From Load Avatar Video."),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=15,
                    tooltip="Which face, where there are several: 0 = the largest and most central.",
                ),
                io.Float.Input(
                    "max_gap_s",
                    default=PrepareOptions.max_gap_s,
                    min=0.0,
                    max=60.0,
                    step=0.1,
                    tooltip="The longest stretch without a visible face, in seconds, that is bridged.",
                ),
                io.Boolean.Input(
                    "skip_lost",
                    default=False,
                    tooltip="On: longer stretches without a face are kept as they are and not learnt from. Off: they "
                    "are an error.",
                ),
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
    def execute(
        cls,
        avatar: Avatar,
        face_index: int,
        max_gap_s: float,
        skip_lost: bool,
        face_landmarks: Mapping[str, Any] | None = None,
        bounding_box: object = None,
    ) -> io.NodeOutput:
        found = reopened(avatar, "video", "audio")
        point = face_point(face_landmarks, bounding_box, (found.info.width, found.info.height))
        options = PrepareOptions(
            found.crop.size, face_index=face_index, face_point=point, max_gap_s=max_gap_s, skip_lost=skip_lost
        )
        models = host.weights(*FACE_WEIGHTS, host.SPEECH)
        host.pull(track_face(found.root, options, models=models), describe)
        tracked = reopened(avatar)
        checked = audited(tracked, models)
        report = f"{track_report(tracked)}\n{checked.to_text()}"
        picture = ui.PreviewImage(host.image_of(draw_audit(tracked, checked)), cls=cls)
        return io.NodeOutput(tracked, host.image_of(*face_sheet(tracked, SHEET_FRAMES)), report, ui=picture)


def audited(avatar: Avatar, models: Path) -> Audit:
    """What is good and bad about the avatar's clip."""
    steps = audit(avatar, models=models)
    host.pull(steps, describe)
    return steps.result


def face_point(
    face_landmarks: Mapping[str, Any] | None, bounding_box: object, size: tuple[int, int]
) -> tuple[float, float] | None:
    """(x, y) px in a frame of `size`: the middle of the face that another node found in the first frame."""
    faces = [face for frame in (face_landmarks or {}).get("frames", []) for face in frame]
    if faces and face_landmarks:
        height, width = face_landmarks.get("image_size", (size[1], size[0]))
        left, top, right, bottom = (float(v) for v in np.asarray(faces[0]["bbox_xyxy"]).reshape(-1)[:4])
        return (left + right) / 2 * size[0] / width, (top + bottom) / 2 * size[1] / height
    box = bounding_box
    while isinstance(box, Sequence) and box:  # per frame, per face
        box = box[0]
    if isinstance(box, Mapping):
        return float(box["x"]) + float(box["width"]) / 2, float(box["y"]) + float(box["height"]) / 2
    return None


class ExtractAudioFeatures(io.ComfyNode):
    """A sound → what an audio encoder hears in it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_ExtractAudioFeatures",
            display_name="Extract Audio Features",
            category=CATEGORY,
            description="Turns speech into the features the mouth is learnt from. Training and rendering must use "
            "the same encoder; Lip Sync Render does that by itself when no features are connected.",
            inputs=[
                io.Audio.Input("audio", tooltip="Speech: the avatar's own for training, any other for rendering."),
                io.Combo.Input(
                    "encoder",
                    options=list(ENCODERS),
                    default="whisper-tiny",
                    tooltip="whisper-tiny: best with short clips, any language. mel80: plain spectrum, needs no "
                    "weights. hubert and wenet: your own model files.",
                ),
                io.String.Input(
                    "model",
                    default="",
                    tooltip="For hubert: a Hugging Face id or a folder (empty: facebook/hubert-large-ls960-ft). For "
                    "wenet: the path of encoder.onnx. Not used otherwise.",
                ),
            ],
            outputs=[FEATURES.Output("features", tooltip="Goes into the training nodes, or into Lip Sync Render.")],
        )

    @classmethod
    def execute(cls, audio: Mapping[str, Any] | None, encoder: str, model: str) -> io.NodeOutput:
        sound = host.sound_file(audio, "Extract Audio Features")
        name = f"{encoder}:{model.strip()}" if ENCODERS[encoder].model and model.strip() else encoder
        models = host.weights(*weight_files(encoder))
        folder = host.temp_folder() / f"{sound.stem}-features"
        waveform = load_waveform(sound)
        steps = features.extract_to(folder, waveform, name, device=host.device(), models=models)
        host.pull(steps, lambda p: host.Shown(f"audio features of {encoder}: {p.fraction:.0%}", p.fraction))
        return io.NodeOutput(Features(steps.result, folder, sound))
