"""What `benchmarks.train_prior` draws from: targets at one frame rate, and features of voices brought to one mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.speakers import Sound, SpeakerClip, sound_of_all, starts_s
from udh_core.face.mouth import lip_gap
from udh_core.inference.driving import shrinkage
from udh_core.media.audio import SAMPLE_RATE_HZ
from udh_core.metrics import correlation
from udh_core.models.generator import AdaptationConfig
from udh_core.models.motion_prior import MotionPrior
from udh_core.models.tensors import interpolate_rows
from udh_core.speech.activity import speech_mask

FPS = 25.0  # of all targets
SHARE_POWER = 0.7  # a speaker is drawn by the length of what there is of him to this power; chosen
REACH = 6.0  # standard deviations that a target has at most
MARGIN_S = 1.0  # of sound on both sides of a clip, when it is judged


class Stretch(NamedTuple):
    """Frames of a part; where it has ended already nothing is known."""

    times_s: Tensor  # (n,) within the sound of all
    target: Tensor  # (n, shape_width)
    known: Tensor  # (n,) bool
    linked: Tensor  # (n,) bool


@dataclass(frozen=True)
class Part:
    """One clip, n frames at FPS."""

    name: str
    speaker: str
    target: Tensor  # (n, shape_width) components, in standard deviations
    known: Tensor  # (n,) bool
    linked: Tensor  # (n,) bool: known, as is the frame before, in the same shot
    opening: np.ndarray  # (n,)
    start_s: float  # of its sound within the sound of all

    @property
    def length_s(self) -> float:
        """Seconds."""
        return len(self.target) / FPS

    def times_s(self, frames: Tensor) -> Tensor:
        """Where the sound of frames (n,) is within the sound of all."""
        return self.start_s + (frames + 0.5) / FPS

    def stretch(self, first: int, count: int) -> Stretch:
        """`count` frames from the first on."""
        end = min(first + count, len(self.target))
        missing = first + count - end
        target = torch.cat([self.target[first:end], self.target.new_zeros(missing, self.target.shape[1])])
        known, linked = (
            torch.cat([values[first:end], values.new_zeros(missing)]) for values in (self.known, self.linked)
        )
        return Stretch(self.times_s(torch.arange(first, first + count).double()), target, known, linked)


def parts_of(prior: MotionPrior, clips: list[SpeakerClip], offsets_s: dict[str, float]) -> list[Part]:
    """Those clips that have an offset: by how many seconds their sound is late."""
    pairs = zip(clips, starts_s(clips), strict=True)
    return [_part(prior, clip, start + offsets_s[clip.name]) for clip, start in pairs if clip.name in offsets_s]


def _part(prior: MotionPrior, clip: SpeakerClip, start_s: float) -> Part:
    times_s = (np.arange(int(len(clip.valid) / clip.fps * FPS)) + 0.5) / FPS
    place = np.clip(times_s * clip.fps - 0.5, 0, len(clip.valid) - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(clip.valid) - 1)
    weight = (place - low).astype(np.float32)
    motion = clip.motion[low] * (1 - weight[:, None]) + clip.motion[high] * weight[:, None]
    known = clip.valid[low] & clip.valid[high]
    linked = known & np.roll(known, 1) & clip.linked[high]
    linked[0] = False
    target = (torch.from_numpy(motion) @ prior.shape_basis.T / prior.shape_std).clamp(-REACH, REACH)
    opening = clip.opening[low] * (1 - weight) + clip.opening[high] * weight
    return Part(clip.name, clip.speaker, target, torch.from_numpy(known), torch.from_numpy(linked), opening, start_s)


def fit_shapes(prior: MotionPrior, clips: list[SpeakerClip]) -> None:
    """The principal components of all canonical mouth shapes, every speaker weighted by SHARE_POWER."""
    total, weights = 0.0, 0.0
    for speaker in sorted({clip.speaker for clip in clips}):
        moving = np.concatenate([c.motion[c.valid] for c in clips if c.speaker == speaker]).astype(np.float64)
        total = total + moving.T @ moving / len(moving) ** (1 - SHARE_POWER)
        weights += len(moving) ** SHARE_POWER
    spread, axes = np.linalg.eigh(np.asarray(total) / weights)
    count = prior.config.shape_width
    prior.shape_basis.copy_(torch.from_numpy(axes[:, ::-1][:, :count].T.copy()))
    prior.shape_std.copy_(torch.from_numpy(np.sqrt(spread[::-1][:count])))


class Voices:
    """The features of all clips, normalised, every speaker brought to the mean of all speech."""

    def __init__(self, clips: list[SpeakerClip], sounds: list[Sound]) -> None:
        plain, self.rows_per_s = sounds[0].rows, sounds[0].rows_per_s
        self.width = plain.shape[1]
        self._spoken = speech_mask(sound_of_all(clips), (np.arange(len(plain)) + 0.5) / self.rows_per_s)
        self._mean = torch.from_numpy(plain[self._spoken].mean(0))
        self.feature_std = torch.from_numpy(plain.std(0)).clamp_min(1e-3)
        self.sounds = [(self._adapted(sound, clips), sound.tempo) for sound in sounds]

    def _adapted(self, sound: Sound, clips: list[SpeakerClip]) -> Tensor:
        """(T, D)."""
        rows = (torch.from_numpy(np.array(sound.rows, np.float32)) - self._mean) / self.feature_std
        for ranges in self._ranges(clips):
            own = np.concatenate([low + np.flatnonzero(self._spoken[low:high]) for low, high in ranges])
            where = np.rint((own + 0.5) / sound.tempo - 0.5).astype(int).clip(0, len(rows) - 1)
            if len(where):
                shift = -rows[where].mean(0)
                shift *= shrinkage(shift, len(own) / self.rows_per_s, AdaptationConfig())
                for low, high in ranges:
                    rows[round(low / sound.tempo) : round(high / sound.tempo)] += shift
        return rows

    def _ranges(self, clips: list[SpeakerClip]) -> Iterator[list[tuple[int, int]]]:
        """Of every speaker: the rows of his clips."""
        by_speaker: dict[str, list[tuple[int, int]]] = {}
        for clip, start in zip(clips, starts_s(clips), strict=True):
            end = start + len(clip.waveform) / SAMPLE_RATE_HZ
            by_speaker.setdefault(clip.speaker, []).append(
                (round(start * self.rows_per_s), round(end * self.rows_per_s))
            )
        yield from by_speaker.values()

    @staticmethod
    def shares(parts: list[Part]) -> np.ndarray:
        """(n,) probability of drawing each part."""
        frames = np.array([int(part.known.sum()) for part in parts], np.float64)
        speakers = np.array([part.speaker for part in parts])
        of_speaker = np.array([frames[speakers == speaker].sum() for speaker in speakers])
        share = frames * of_speaker ** (SHARE_POWER - 1)
        return share / share.sum()


def opening_weights(prior: MotionPrior) -> Tensor:
    """(shape_width,) by how much a component opens the lips."""
    return torch.from_numpy(lip_gap(prior.shape_basis.unflatten(1, (-1, 2)).numpy())) * prior.shape_std


@torch.no_grad()
def explained(prior: MotionPrior, voices: Voices, part: Part, offsets_s: tuple[float, ...] = (0.0,)) -> list[float]:
    """Correlation of a part's opening with what is predicted of its sound, if that is so much later than is known."""
    source, _ = voices.sounds[0]
    low = max(0, int((part.start_s - MARGIN_S) * voices.rows_per_s))
    high = int((part.start_s + part.length_s + MARGIN_S) * voices.rows_per_s)
    opening = prior(source[low:high][None]) @ opening_weights(prior)[:, None]
    times_s, known, found = part.times_s(torch.arange(len(part.target)).double()), part.known.numpy(), []
    for offset_s in offsets_s:
        rows = (times_s + offset_s) * voices.rows_per_s - 0.5 - low
        found.append(
            correlation(interpolate_rows(opening, rows.float()[None])[0, known, 0].numpy(), part.opening[known])
        )
    return found
