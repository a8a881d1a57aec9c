"""People who are only looked at and listened to: what benchmarks drive other people's mouths with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.speakers import read_clips
from benchmarks.spoken_text import Sentence, read_sentences
from benchmarks.train_prior import CORPUS, left_out
from udh_core.avatar.folder import open_avatar
from udh_core.face.mouth import mouth_opening
from udh_core.media.audio import load_waveform
from udh_core.speech import features
from udh_core.speech.features import AudioFeatures

ENCODER = "whisper-tiny"


@dataclass(frozen=True)
class Person:
    """Somebody who is only looked at and listened to; k frames show the face."""

    name: str
    fps: float
    frame_count: int
    frames: np.ndarray  # (k,) int64
    opening: np.ndarray  # (k,) of the mouth
    waveform: np.ndarray  # (n,) float32 at 16 kHz
    speech: AudioFeatures
    sentences: list[Sentence]  # that are spoken; empty where they are not known


@dataclass(frozen=True)
class Others:
    """Who else speaks."""

    avatars: list[Person]
    clips: list[Person]  # short ones, of people that the prior was not trained on


def open_person(root: Path, words: Path | None = None) -> Person:
    """The person of an avatar; `words`: a table of what is spoken."""
    avatar = open_avatar(root, ("video", "audio", "track"))
    track, waveform = avatar.track(), load_waveform(avatar.audio)
    frames = np.flatnonzero(track.valid & track.present)
    speech = features.extract_to(root / "features", waveform, ENCODER).run()
    opening = mouth_opening(track.landmarks[frames])
    sentences = read_sentences(words) if words else []
    count, fps = avatar.info.frame_count, float(avatar.info.fps)
    return Person(root.name, fps, count, frames, opening, waveform, speech, sentences)


def strangers(speakers: Path) -> list[Person]:
    """Who speaks freely in that folder and was not trained on."""
    clips = list(read_clips(speakers))
    apart, found = left_out(clips), []
    for clip in clips:
        if clip.speaker in apart and not clip.speaker.startswith(CORPUS):
            frames, speech = np.flatnonzero(clip.valid), features.extract(clip.waveform, ENCODER)
            opening = clip.opening[frames]
            found.append(Person(clip.name, clip.fps, len(clip.valid), frames, opening, clip.waveform, speech, []))
    return found
