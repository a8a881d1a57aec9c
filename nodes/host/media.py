"""Sound, pictures and clips: ComfyUI's AUDIO, IMAGE and VIDEO to files and arrays, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...udh_core.errors import MediaError
from ...udh_core.files import atomic_write
from ...udh_core.media.audio import write_wave
from .folders import stamp, temp_folder
from .sound import samples_of


def clip_of(video: Any) -> tuple[Path, float, float | None]:  # noqa: ANN401 (ComfyUI's VIDEO, whatever its class)
    """(file, start_s, duration_s) of a VIDEO; what only is in memory is written to a file first."""
    start_s, duration_s = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    source = video.get_stream_source()
    if isinstance(source, str):
        return Path(source), start_s, duration_s or None
    data = source.getvalue()
    path = temp_folder() / f"{hashlib.sha256(data).hexdigest()[:16]}.mp4"
    if not path.is_file():
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
    return path, start_s, duration_s or None


def whole_clip(video: Any) -> Path:  # noqa: ANN401 (ComfyUI's VIDEO, whatever its class)
    """A file of nothing but this VIDEO; a trimmed one is written out by ComfyUI itself."""
    source, start_s, duration_s = clip_of(video)
    if not start_s and duration_s is None:
        return source
    name = hashlib.sha256(repr((source, stamp(source), start_s, duration_s)).encode()).hexdigest()[:16]
    path = temp_folder() / f"{name}.mp4"
    if not path.is_file():
        with atomic_write(path) as temporary:
            video.save_to(str(temporary))
    return path


def sound_file(audio: Mapping[str, Any] | None, what: str) -> Path:
    """A wav file of an AUDIO; MediaError when there is none, or when it is not one sound."""
    if audio is None:
        raise MediaError(
            f"{what} got no sound: the AUDIO is empty, the clip it comes from may have no sound track; connect a sound"
        )
    samples, rate_hz = samples_of(audio, what)
    digest = hashlib.sha256(repr((samples.shape, rate_hz)).encode())
    digest.update(samples.data)
    path = temp_folder() / f"{digest.hexdigest()[:16]}.wav"
    if not path.is_file():
        write_wave(path, samples, rate_hz)
    return path


def audio_of(sound: np.ndarray, rate_hz: int) -> dict[str, Any]:
    """(n, channels) float32 → AUDIO."""
    return {"waveform": torch.from_numpy(np.ascontiguousarray(sound.T))[None], "sample_rate": rate_hz}


def image_of(*pictures: np.ndarray) -> torch.Tensor:
    """Pictures (H, W, 3) uint8 of one size → IMAGE (B, H, W, 3) float32 0..1."""
    return torch.from_numpy(np.stack(pictures)).float() / 255.0
