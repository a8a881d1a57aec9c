"""Mouth shapes and sound of many speakers, as `benchmarks.train_prior` needs them: one canonical space for all people.

The folder holds `clips.tsv`, `shapes.npz` and `sound/<clip>.flac` (docs/motion_prior.md). Every clip stands for
itself: the head's pose is regressed out, its mean shape is taken out, and what is left is scaled by how much this
speaker's lips open. The audio features of all clips are extracted in one go and cached.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from udh_core.avatar.av_offset import AvOffset, align_sound
from udh_core.face.head_pose import head_pose
from udh_core.face.mouth import lip_gap
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech import features
from udh_core.speech.augmentation import AUGMENTATIONS, augmented
from udh_core.speech.mel import log_mel

GAP_S = 0.5  # of silence between clips that are encoded in one go; chosen
LOUDNESS = 0.05  # root mean square that every clip is brought to before; chosen
POSE_COMPONENTS, POSE_RIDGE = 3, 0.01  # of the head's pose, regressed out of a clip; chosen
LEAST_EYES_PX = 40.0  # distance of the eyes: in smaller faces the shapes are mostly noise; chosen
BANDS = 40  # of the log-mel rows that the offset is measured with
AUGMENTED = (AUGMENTATIONS[0], AUGMENTATIONS[3])  # how the sound is changed, besides: lower and higher voices
LEAST_FRAMES = 50  # with a face, in a clip; chosen


@dataclass(frozen=True)
class SpeakerClip:
    """One clip of one speaker; N frames."""

    name: str
    speaker: str
    fps: float
    motion: np.ndarray  # (N, 106) float32 canonical mouth shape: no pose, no mean, 1 = the spread of the lips' opening
    opening: np.ndarray  # (N,) float32 gap of the lips, in the same unit
    valid: np.ndarray  # (N,) bool
    linked: np.ndarray  # (N,) bool: valid, and in one shot with the frame before, which is valid, too
    waveform: np.ndarray  # (m,) float32 at 16 kHz


def read_clips(folder: Path) -> Iterator[SpeakerClip]:
    """All clips whose faces are large enough and move."""
    stored = np.load(folder / "shapes.npz")
    with (folder / "clips.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if float(row["eye_distance_px"]) < LEAST_EYES_PX or int(row["valid_frames"]) < LEAST_FRAMES:
                continue
            waveform = load_waveform(folder / "sound" / f"{row['clip']}.flac")
            waveform = waveform * np.float32(LOUDNESS / max(float(waveform.std()), 1e-4))
            yield _clip(row["clip"], row["speaker"], stored, waveform)


def _clip(name: str, speaker: str, stored: np.lib.npyio.NpzFile, waveform: np.ndarray) -> SpeakerClip:
    valid, fps = stored[f"{name}/valid"], float(stored[f"{name}/fps"])
    shapes = stored[f"{name}/shape"].astype(np.float64)
    shots = np.cumsum(stored[f"{name}/shot_starts"])
    stable = np.where(valid[:, None, None], stored[f"{name}/stable"].astype(np.float64), np.nan)
    frames = np.flatnonzero(valid)
    pose = head_pose(stable, shots, frames, fps)[:, :POSE_COMPONENTS]
    flat = _without(shapes.reshape(len(shapes), -1), pose.astype(np.float64), frames)
    opening = lip_gap(flat.reshape(shapes.shape))
    scale = max(float(opening[frames].std()), 1e-4)
    linked = valid & np.roll(valid, 1) & (shots == np.roll(shots, 1))
    linked[0] = False
    motion = np.where(valid[:, None], flat / scale, 0).clip(-8, 8).astype(np.float32)
    return SpeakerClip(name, speaker, fps, motion, (opening / scale).astype(np.float32), valid, linked, waveform)


def _without(shapes: np.ndarray, pose: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Shapes (N, M) less their mean and what the pose (N, K) explains of them, by a ridge regression over `frames`."""
    y = shapes - shapes[frames].mean(0)
    x = pose - pose[frames].mean(0)
    gram = x[frames].T @ x[frames] + POSE_RIDGE * len(frames) * np.eye(x.shape[1])
    return y - x @ np.linalg.solve(gram, x[frames].T @ y[frames])


def sound_offset(clip: SpeakerClip) -> AvOffset:
    """How far sound and mouth are apart, as `udh prepare` measures it."""
    frames = np.flatnonzero(clip.valid)
    return align_sound(clip.opening[frames], frames, log_mel(clip.waveform, BANDS), clip.fps)


@dataclass(frozen=True)
class Sound:
    """Features of all clips in one augmentation; row r of the plain sound is at (r + 0.5) / tempo - 0.5 here."""

    rows: np.ndarray  # (T, D) float32
    tempo: float
    rows_per_s: float


def starts_s(clips: list[SpeakerClip]) -> np.ndarray:
    """(n,) seconds: where each clip begins in the sound of all."""
    lengths = [len(clip.waveform) / SAMPLE_RATE_HZ + GAP_S for clip in clips]
    return np.cumsum([GAP_S, *lengths[:-1]])


def sound_of_all(clips: list[SpeakerClip]) -> np.ndarray:
    """(m,) float32 at 16 kHz: all clips, with silence between them."""
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([gap, *[part for clip in clips for part in (clip.waveform, gap)]])


def extract_sounds(clips: list[SpeakerClip], encoder: str, cache: Path) -> Iterator[Sound]:
    """Features of all clips, plain and in some augmentations; what lies in `cache` already is not encoded again."""
    whole = sound_of_all(clips)
    plain = features.extract_to(cache / "plain", whole, encoder).run()
    yield Sound(plain.values, 1.0, plain.rate_hz)
    for number, augmentation in enumerate(AUGMENTED):
        changed = augmented(whole, augmentation)
        found = features.extract_to(cache / f"augmented-{number}", changed, encoder).run()
        yield Sound(found.values, augmentation.tempo, found.rate_hz)
