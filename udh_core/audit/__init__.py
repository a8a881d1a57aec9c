"""Dataset audit: what is good and bad about a prepared clip, before anyone trains on it for an hour."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from ..avatar import av_offset
from ..avatar.folder import Avatar
from ..intervals import runs
from ..media.audio import load_waveform
from ..progress import Progress, job
from ..speech.activity import speech_mask
from .audio import audio_findings, sync_findings
from .finding import LEVELS, Audit, Finding, Level
from .plot import draw_audit, write_picture
from .source import source_findings
from .video import video_findings

__all__ = ["LEVELS", "Audit", "Finding", "Level", "audit", "draw_audit", "write_picture"]


@job
def audit(avatar: Avatar, *, models: Path | None = None) -> Generator[Progress, None, Audit]:
    """Check a prepared avatar. `models` is the folder of the weight files.

    Holds one frame and the sound (64 kB a second) at a time. WeightsError when the face detector or the network that
    finds speech is missing.
    """
    track, fps = avatar.track(), float(avatar.info.fps)
    waveform = load_waveform(avatar.audio)
    speaks = speech_mask(waveform, avatar.frame_times_s(), models=models)
    picture = yield from video_findings(avatar, track, speaks, models)
    yield Progress("audit sound", 0, 1)
    sound = [*audio_findings(waveform, speaks, fps), *sync_findings(av_offset.of(avatar), fps)]
    yield Progress("audit sound", 1, 1)
    speech_s = tuple((start / fps, stop / fps) for start, stop in runs(speaks))
    return Audit((*picture, *sound, *source_findings(avatar.notes())), speech_s)
