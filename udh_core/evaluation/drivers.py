"""What drives the mouths of each row: which audio, which mouth shapes, and where the true mouths are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..errors import MediaError
from ..inference.driving import mouth_shapes
from ..inference.sync_scorer import AudioSegment
from ..media.audio import SAMPLE_RATE_HZ, load_waveform
from ..models.generator import Generator
from ..speech import features
from ..speech.activity import speech_mask, speech_share
from ..speech.features import AudioFeatures
from ..speech.voice import load_voice
from .held_out import HeldOut
from .result import GENERATED, OTHER, SILENCE, SILENCE_PREDICTED, TRUE_SHAPE, VOICE, Driver

SILENCE_MARGIN_S = 5.0  # before and after the silence that is evaluated: an encoder's windows reach over its edges


class DrivenRow(NamedTuple):
    """A row that the generator draws."""

    driver: Driver
    shapes: Tensor  # (m, shape_width) float32 mouth shapes, in standard deviations


@dataclass(frozen=True)
class ShapePredictor:
    """Audio → mouth shapes, by the generator that is evaluated and as `render` does it."""

    generator: Generator
    encoder: str
    device: str = "cpu"
    models: Path | None = None  # folder of the weight files

    def extract(self, waveform: np.ndarray) -> AudioFeatures:
        """Of a waveform (n,) float32, 16 kHz mono."""
        return features.extract(waveform, self.encoder, device=self.device, models=self.models)

    def predict(self, audio: AudioSegment, waveform: np.ndarray, *, rest: bool = True) -> Tensor:
        """(m, shape_width) at the times of `audio`, whose waveform (n,) is given; `rest`: the rule for silence."""
        return mouth_shapes(self.generator, audio.sound, audio.times_s, waveform, rest=rest, models=self.models)


def own_audio(held_out: HeldOut) -> Driver:
    """The audio of the very frames that are drawn on: their own mouths are the true ones."""
    return Driver(AudioSegment.own(held_out.data, held_out.frames), held_out.own_rows, same_frames=True)


def other_passage(held_out: HeldOut) -> Driver:
    """The audio of another passage of the held-out part: the true mouths are those of its frames."""
    rows = held_out.other_rows
    return Driver(AudioSegment.own(held_out.data, held_out.frames[rows]), rows, same_frames=False)


def driven_rows(held_out: HeldOut, predictor: ShapePredictor, voice: Path | None) -> dict[str, DrivenRow]:
    """The rows that the generator draws, by name. `voice`: somebody else's speech; MediaError when it is no audio."""
    own, other = own_audio(held_out), other_passage(held_out)
    waveform = load_waveform(held_out.data.avatar.audio)
    true = predictor.generator.encode_shapes(held_out.data.points[held_out.frames])
    rows = {
        GENERATED: DrivenRow(own, predictor.predict(own.audio, waveform)),
        TRUE_SHAPE: DrivenRow(own, true),
        OTHER: DrivenRow(other, predictor.predict(other.audio, waveform)),
    }
    if voice is not None:
        rows[VOICE] = _other_voice(held_out, predictor, _speech_of(voice, predictor.models))
    return rows | _silent_rows(held_out, predictor)


def _speech_of(voice: Path, models: Path | None) -> np.ndarray:
    """(n,) waveform of somebody else's speech; MediaError when there is none in it."""
    waveform = load_voice(voice, models=models).waveform
    if not speech_share(waveform, models=models):
        raise MediaError(f"there is no speech in {voice}; give somebody's speech as the other voice")
    return waveform


def _other_voice(held_out: HeldOut, predictor: ShapePredictor, waveform: np.ndarray) -> DrivenRow:
    """A waveform (n,) over the held-out frames, from its start again when it ends."""
    times_s = (held_out.own_rows + 0.5) / held_out.fps % (len(waveform) / SAMPLE_RATE_HZ)
    spoken = speech_mask(waveform, times_s, models=predictor.models)
    audio = AudioSegment(predictor.extract(waveform), times_s, spoken)
    return DrivenRow(Driver(audio), predictor.predict(audio, waveform))


def _silent_rows(held_out: HeldOut, predictor: ShapePredictor) -> dict[str, DrivenRow]:
    """Digital silence: what the network predicts of it, and what `render` makes of that, by rule the rest pose."""
    length_s = len(held_out.frames) / held_out.fps + 2 * SILENCE_MARGIN_S
    waveform = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)
    times_s = SILENCE_MARGIN_S + (held_out.own_rows + 0.5) / held_out.fps
    audio = AudioSegment(predictor.extract(waveform), times_s, np.zeros(len(times_s), bool))
    driver = Driver(audio, silent=True)
    return {
        SILENCE_PREDICTED: DrivenRow(driver, predictor.predict(audio, waveform, rest=False)),
        SILENCE: DrivenRow(driver, predictor.predict(audio, waveform)),
    }
