"""The node that makes the avatar speak."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from comfy_api.latest import InputImpl, io

from ..udh_core.avatar.folder import Avatar
from ..udh_core.errors import MediaError
from ..udh_core.face.crop import FEATHER
from ..udh_core.media.probe import picture_info
from ..udh_core.media.video import read_frames
from ..udh_core.progress import Progress
from ..udh_core.rendering.options import RenderOptions, WhenLonger, WhenShorter
from ..udh_core.rendering.render import render
from ..udh_core.speech.encoders import weight_files
from ..udh_core.speech.features import AudioFeatures
from . import host
from .sockets import AVATAR, CATEGORY, FEATURES, GENERATOR, Features, Trained, reopened

FRAMES_OUTPUT = 1
RAM_SHARE = 0.5  # of the free main memory that the frames may take


def _settings() -> list[io.Input]:
    return [
        io.Combo.Input(
            "when_audio_longer",
            options=list(get_args(WhenLonger)),
            default="bounce",
            tooltip="When the audio outlasts the clip: bounce plays it backwards and forwards, loop starts "
            "it over, hold keeps the last frame.",
        ),
        io.Combo.Input(
            "when_audio_shorter",
            options=list(get_args(WhenShorter)),
            default="cut",
            tooltip="When the clip outlasts the audio: cut ends with the audio, keep plays the clip to its "
            "end with the mouth at rest.",
        ),
        io.Float.Input(
            "blend",
            default=FEATHER,
            min=0.01,
            max=0.4,
            step=0.01,
            tooltip="Width of the soft border between drawn and real, 1 = distance of the outer eye corners. "
            "Raise it when you see an edge.",
        ),
        io.Int.Input(
            "crf",
            default=RenderOptions.crf,
            min=0,
            max=40,
            tooltip="Quality of the video file (x264): 16 = no visible loss, higher = smaller file.",
        ),
        io.Float.Input(
            "amplitude",
            default=RenderOptions.amplitude,
            min=0.5,
            max=1.5,
            step=0.05,
            tooltip="How far the mouth moves from its rest: 1 = about as far as in the clip, whoever speaks. Raise it "
            "when the new voice moves it too little.",
        ),
        io.Boolean.Input(
            "rest_in_silence",
            default=RenderOptions.rest,
            tooltip="On: where the audio is silent the mouth closes and rests. Off: it does what the generator hears, "
            "breath and noise included.",
        ),
    ]


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
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                AVATAR.Input(
                    "avatar",
                    tooltip="From Detect Landmarks, Load Avatar or Load Avatar To Go; the one the generator was "
                    "trained on.",
                ),
                GENERATOR.Input("generator", tooltip="From Train Generator, Load Generator or Load Avatar To Go."),
                *_settings(),
                io.Audio.Input(
                    "audio", optional=True, tooltip="What the avatar shall say: any language, any length, any TTS node."
                ),
                FEATURES.Input(
                    "features",
                    optional=True,
                    tooltip="Features of that audio, of the generator's own encoder. Made by itself when not "
                    "connected.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The mp4 with its sound, in ComfyUI's temp folder: connect Save Video.",
                ),
                io.Image.Output(
                    display_name="frames", tooltip="All frames, for upscalers; needs memory for all of them."
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second, for Create Video."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> bool:
        """A result without frames will not do once the frames are wanted."""
        return host.is_linked(host.running_prompt(cls.hidden.unique_id), cls.hidden.unique_id, FRAMES_OUTPUT)

    @classmethod
    def execute(
        cls,
        avatar: Avatar,
        generator: Trained,
        when_audio_longer: str,
        when_audio_shorter: str,
        blend: float,
        crf: int,
        amplitude: float,
        rest_in_silence: bool,
        audio: Mapping[str, Any] | None = None,
        features: Features | None = None,
    ) -> io.NodeOutput:
        choice = {"crf": crf, "feather": blend, "rest": rest_in_silence, "amplitude": amplitude}
        options = RenderOptions(when_audio_longer, when_audio_shorter, **choice)  # type: ignore[arg-type]
        sound = features.sound if audio is None and features else host.sound_file(audio, "Lip Sync Render")
        out = _rendered(
            reopened(avatar, "video", "track"), generator, sound, options, features.values if features else None
        )
        wanted = host.is_linked(cls.hidden.prompt, cls.hidden.unique_id, FRAMES_OUTPUT)
        frames = frames_of(out, host.free_ram_bytes()) if wanted else None
        return io.NodeOutput(InputImpl.VideoFromFile(str(out)), frames, float(avatar.info.fps))


def _rendered(
    avatar: Avatar, generator: Trained, sound: Path, options: RenderOptions, driving: AudioFeatures | None
) -> Path:
    """The finished mp4; one with the same content is not made twice while ComfyUI runs."""
    parts = (avatar.root, avatar.identity, host.stamp(avatar.root / "avatar.json"), generator.path)
    parts += (host.stamp(generator.path), sound.stem, options, driving.encoder if driving else "")
    out = host.temp_folder() / f"{avatar.root.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.mp4"
    if out.is_file():
        return out
    models = host.weights(host.SPEECH, *weight_files(generator.info.encoder))
    with host.alone_on_device() as device:
        steps = render(avatar, generator.path, sound, out, options, driving=driving, models=models, device=device)
        host.pull(steps, describe)
    return out


def describe(progress: Progress) -> host.Shown:
    """A frame in words."""
    if progress.stage == "features":
        return host.Shown("audio features", 0.0)
    words = f"drawing frame {progress.done:.0f} / {progress.total:.0f}, {progress.detail}"
    return host.Shown(words, progress.done / progress.total)


def frames_of(path: Path, free_bytes: int) -> torch.Tensor:
    """All frames of a video as IMAGE (N, H, W, 3) float32 0..1; MediaError when they do not fit the memory."""
    info = picture_info(path)
    needed, limit = info.frame_count * info.height * info.width * 3 * 4, int(free_bytes * RAM_SHARE)
    if needed > limit:
        raise MediaError(
            f"the {info.frame_count} frames of {info.width}×{info.height} px need {needed / 1e9:.1f} GB of memory as "
            f"IMAGE, the limit is {limit / 1e9:.1f} GB (half of what is free): use the video output, which is a "
            f"file, or a shorter audio"
        )
    frames = np.empty((info.frame_count, info.height, info.width, 3), np.float32)
    total = info.frame_count
    host.pull(_filling(frames, path), lambda done: host.Shown(f"handing out frame {done} / {total}", done / total))
    return torch.from_numpy(frames)


def _filling(frames: np.ndarray, path: Path) -> Iterator[int]:
    for i, frame in enumerate(read_frames(path, count=len(frames))):
        np.divide(frame, 255.0, out=frames[i], dtype=np.float32)
        yield i + 1
