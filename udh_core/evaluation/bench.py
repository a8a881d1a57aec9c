"""The held-out part redrawn in several ways, and measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..avatar.dataset import TrainingData
from ..errors import FormatError
from ..face import crop as crop_module
from ..face import mouth, topology
from ..face.detector import FaceMesh, box_of
from ..face.mouth import mouth_opening
from ..face.tracking import seen_region
from ..inference.compositor import Compositor
from ..inference.driving import mouth_shapes
from ..inference.sync_scorer import AudioSegment, SyncReport, SyncScorer, load_mouths, sync_distances
from ..media.audio import load_waveform
from ..media.video import read_frames
from ..models.generator import Generator, with_neighbours
from ..models.lpips import Lpips
from ..models.tensors import to_input
from ..speech import features
from ..speech.activity import away_from_speech, speech_mask
from ..speech.features import AudioFeatures
from ..training.calibration import APART_S
from .result import GENERATED, OTHER, OTHER_PASTED, PASTED, REAL, SILENCE, TRUE_SHAPE, UNCHANGED, VOICE, Evaluation, Row

MAX_FRAMES = 300
PICTURES = 100  # frames at most on which a picture is compared with the truth
OTHER_PART = 0.45  # of the held-out part: how far away the other passage is (no whole number of equal sentences)
BILABIALS = "pbm"  # the lips meet


class Source(NamedTuple):
    """The part of a frame in which its face is looked for: what is kept does not grow with the frame."""

    pixels: np.ndarray  # (h, w, 3) uint8
    corner: np.ndarray  # (2,) float32 x and y of its pixel 0 in the frame


class _Listener(NamedTuple):
    """Turns sound into the features that a generator hears."""

    encoder: str
    device: str
    models: Path | None

    def hear(self, waveform: np.ndarray) -> AudioFeatures:
        return features.extract(waveform, self.encoder, device=self.device, models=self.models)


class Bench:
    """The held-out frames, their truth, and what measures them."""

    def __init__(
        self,
        data: TrainingData,
        generator: Generator,
        syncnet: SyncScorer | None,
        models: Path | None,
        max_frames: int,
        words: Path | None,
    ) -> None:
        self.data, self.generator, self.syncnet, self.models = data, generator, syncnet, models
        self.fps, self.spec = float(data.avatar.info.fps), data.avatar.crop
        self.frames = data.held_out[:max_frames]
        self.other = np.roll(self.frames, -round(OTHER_PART * len(self.frames)))
        self.transforms = data.avatar.track().transforms
        self.compositor = Compositor(generator.warp, self.spec, self.transforms)
        self.mesh, self.lpips = FaceMesh(models), Lpips(models)
        self.real = np.array(data.crops[self.frames])
        alpha = crop_module.mask(self.spec)
        self.alpha, self.weight, self.border = alpha, alpha > 0.5, (alpha > 0) & (alpha < 0.3)
        self.sampled = np.unique(np.linspace(0, len(self.frames) - 1, PICTURES).astype(int))
        self.sources = self._read_sources()
        self.points = {REAL: self._find_lips(self.real)}  # by row: opening (m,) and lips (m, 40, 2)
        self.truth = dict(zip(self.frames.tolist(), range(len(self.frames)), strict=True))
        self.skin, self.nod = self._skin(), self._nod()
        self.bilabials = None if words is None else _bilabials(words)
        self.figures: dict[str, dict[str, float]] = {}
        self.sync: dict[str, SyncReport] = {}

    def _read_sources(self) -> dict[int, Source]:
        """What the face mesh sees of the held-out frames: landmarks are found in a picture, not in a bare crop."""
        first, last = int(self.frames[0]), int(self.frames[-1])
        wanted, found = set(self.frames.tolist()), {}
        frames = read_frames(self.data.avatar.video, start=first, count=last - first + 1)
        for number, frame in enumerate(frames, first):
            if number in wanted:
                rows, columns = seen_region(box_of(self.data.landmarks[number]), frame.shape)
                corner = np.array([columns.start, rows.start], np.float32)
                found[number] = Source(frame[rows, columns].copy(), corner)
        return found

    def _skin(self) -> np.ndarray:
        """(S, S) bool: what is redrawn though it hardly moves: the mask without where lips are seen."""
        lips = self.data.landmarks[self.frames][:, list(topology.LIPS)]
        places = crop_module.in_crop(lips, self.transforms[self.frames])
        (left, top), (right, bottom) = np.percentile(places.reshape(-1, 2), (1, 99), axis=0)
        axis = np.arange(self.spec.size) + 0.5
        margin = 0.1 * (right - left)
        beside = (axis < left - margin) | (axis > right + margin)
        return self.weight & (beside[None, :] | ((axis < top - margin) | (axis > bottom + margin))[:, None])

    def _nod(self) -> np.ndarray:
        """(m,) what turning and nodding add to the opening in the picture: with the frames it stays in every row."""
        seen = mouth.mouth_shape(self.data.landmarks[self.frames], self.transforms[self.frames], self.spec)
        return mouth.lip_gap(seen) - mouth.lip_gap(self.data.points[self.frames].numpy())

    # What drives the mouths

    def drives(
        self, listener: _Listener, voice: Path | None
    ) -> dict[str, tuple[Tensor, np.ndarray | None, AudioSegment | None]]:
        """By row: what steers it (m, frames, shape_width), the frames of its true mouths, what is heard."""
        own, other = AudioSegment.own(self.data, self.frames), AudioSegment.own(self.data, self.other)
        sound, nothing = load_waveform(self.data.avatar.audio), np.zeros(16000 * 10, np.float32)
        true = self.generator.encode_shapes(self.data.points[self.frames])
        resting = mouth_shapes(self.generator, listener.hear(nothing), np.full(1, 5.0), nothing, models=self.models)
        driven = {
            GENERATED: (self._told(own, sound), self.frames, own),
            TRUE_SHAPE: (true, self.frames, own),
            OTHER: (self._told(other, sound), self.other, other),
            SILENCE: (resting.expand(len(self.frames), -1), None, None),
        }
        if voice is not None:
            sound = load_waveform(voice)
            heard = self._hear(listener, sound)
            driven[VOICE] = (self._told(heard, sound), None, heard)
        return {
            name: (with_neighbours(shapes, self.generator.config.warp.frames), follows, heard)
            for name, (shapes, follows, heard) in driven.items()
        }

    def _told(self, heard: AudioSegment, waveform: np.ndarray) -> Tensor:
        """What `render` makes of it, were it no longer than what is judged."""
        return mouth_shapes(self.generator, heard.sound, heard.times_s, waveform, models=self.models)

    def _hear(self, listener: _Listener, waveform: np.ndarray) -> AudioSegment:
        """Somebody else's speech over the held-out frames, from the start again when it ends."""
        times_s = (np.arange(len(self.frames)) + 0.5) / self.fps % (len(waveform) / 16000)
        return AudioSegment(listener.hear(waveform), times_s, speech_mask(waveform, times_s, models=self.models))

    def redraw(self, steered: Tensor) -> Iterator[np.ndarray]:
        """Redrawn crops in batches (b, S, S, 3) uint8."""
        for start in range(0, len(self.frames), 8):
            rows = slice(start, start + 8)
            yield self.compositor.generate(self.real[rows], steered[rows])

    def yardsticks(self) -> dict[str, Row]:
        """The rows without a generator."""
        own, other = AudioSegment.own(self.data, self.frames), AudioSegment.own(self.data, self.other)
        pasted = self._paste(self.real[[self.truth[i] for i in self.other.tolist()]])
        return {
            PASTED: Row(pasted, self.frames, own),
            REAL: Row(self.real, self.frames, own),
            OTHER_PASTED: Row(pasted, self.other, other),
            UNCHANGED: Row(self.real, self.other, other),
        }

    def _paste(self, mouths: np.ndarray) -> np.ndarray:
        """Real crops with the mouths of other ones (m, S, S, 3) blended in."""
        alpha = self.alpha[None, :, :, None]
        return np.rint(self.real * (1 - alpha) + mouths * alpha).astype(np.uint8)

    # What is measured

    def measure(self, name: str, row: Row) -> None:
        """All figures of one row."""
        if name not in self.points:
            same = next((known for known in self.points if known in self._same(name)), None)
            self.points[name] = self.points[same] if same else self._find_lips(row.crops)
        self.figures[name] = {**self._motion(name, row), **self._looks(row)}
        if row.follows is self.frames:
            self.figures[name] |= self._likeness(row.crops)
        if self.syncnet is not None and row.heard is not None:
            network = self.syncnet.network
            mouths = load_mouths(row.crops, self.spec, network.config)
            report = SyncReport.of(sync_distances(network, self.data, mouths, self.frames, row.heard))
            self.sync[name] = report
            self.figures[name] |= {"lse_c": report.lse_c, "lse_d": report.lse_d, "sync_offset": report.offset}

    @staticmethod
    def _same(name: str) -> set[str]:
        """Rows that show the very same pictures."""
        return {OTHER_PASTED: {PASTED}, UNCHANGED: {REAL}}.get(name, set())

    def _motion(self, name: str, row: Row) -> dict[str, float]:
        """How the mouth moves, against the true one where there is a truth."""
        opening, lips = self.points[name]
        real_opening, real_lips = self.points[REAL]
        spread = max(float(real_opening.std()), 1e-9)
        found = {"opening_std_ratio": float(opening.std()) / spread}
        found["source_correlation"] = metrics.correlation(opening, real_opening)
        found["source_correlation_posed"] = metrics.correlation(opening - self.nod, real_opening - self.nod)
        if GENERATED in self.points:
            found["lmd_to_generated"] = metrics.landmark_distance(lips, self.points[GENERATED][1])
        if row.follows is not None:
            true = [self.truth[i] for i in row.follows.tolist()]
            found["opening_correlation"] = metrics.correlation(opening, real_opening[true])
            found["lmd"] = metrics.landmark_distance(lips, real_lips[true])
            found |= self._closure(opening, row.follows, real_opening[true])
        spoken = np.zeros(len(opening), bool) if row.heard is None else row.heard.spoken
        quiet = away_from_speech(spoken, round(APART_S * self.fps))
        if quiet.sum() >= self.fps:
            found["silence_motion"] = float(opening[quiet].std()) / spread
        return found

    def _closure(self, opening: np.ndarray, follows: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """How far the lips fail to meet on p, b and m, in standard deviations of the real opening."""
        if self.bilabials is None:
            return {}
        row_of = dict(zip(follows.tolist(), range(len(follows)), strict=True))
        numbers = np.floor(self.bilabials * self.fps - self.data.audio_offset).astype(int).tolist()
        moments = np.array([row_of[i] for i in numbers if i in row_of])
        if len(moments) == 0:
            return {}
        return {"closure_gap": metrics.closure_gap(opening, truth, moments) / max(float(truth.std()), 1e-9)}

    def _looks(self, row: Row) -> dict[str, float]:
        """How the pictures compare with the source, whatever their mouths do."""
        pairs = [(row.crops[k], self.real[k]) for k in self.sampled]

        def ratio(measure: Callable[[np.ndarray, np.ndarray], float], where: np.ndarray) -> float:
            drawn, real = (sum(measure(x, where) for x in side) for side in zip(*pairs, strict=True))
            return float(drawn / max(real, 1e-9))

        gaps = np.flatnonzero(np.diff(self.frames) != 1)
        whole = slice(0, int(gaps[0]) + 1 if len(gaps) else None)
        drawn, real = (metrics.flicker(x[whole], self.skin) for x in (row.crops, self.real))
        return {
            "sharpness_ratio": ratio(metrics.sharpness, self.weight),
            "seam_ratio": ratio(metrics.edge_strength, self.border),
            "skin_jitter_ratio": drawn / max(real, 1e-9),
            "colour_drift": float(np.mean([metrics.colour_drift(*pair, self.weight) for pair in pairs])),
        }

    def _likeness(self, crops: np.ndarray) -> dict[str, float]:
        """How near the pictures come to the true ones."""
        pairs = [(crops[k], self.real[k]) for k in self.sampled]
        return {
            "psnr_db": float(np.mean([metrics.psnr(*pair, self.weight) for pair in pairs])),
            "ssim": float(np.mean([metrics.ssim(*pair, self.weight) for pair in pairs])),
            "lpips": self._lpips(crops),
        }

    def _find_lips(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mouth opening (m,) and lips (m, 40, 2) in face units, re-detected on crops (m, S, S, 3) in their frames."""
        found = []
        for number, crop in zip(self.frames.tolist(), crops, strict=True):
            pixels, corner = self.sources[number]
            shown = crop_module.paste(pixels, crop, crop_module.seen_from(self.transforms[number], corner), self.spec)
            found.append(self.mesh.locate(shown, box_of(self.data.landmarks[number] - corner))[0] + corner)
        points = np.stack(found)
        shapes = mouth.mouth_shape(points, self.transforms[self.frames], self.spec)
        return mouth_opening(points), shapes[:, : len(topology.LIPS)]

    def _lpips(self, drawn: np.ndarray) -> float:
        rows, columns = self.generator.warp.box
        values = []
        for start in range(0, len(self.sampled), 16):
            part = self.sampled[start : start + 16]
            pair = (to_input(x[part][:, rows, columns]) for x in (drawn, self.real))
            with torch.no_grad():
                values.append(self.lpips(*pair))
        return float(torch.cat(values).mean())

    def finish(self, rows: dict[str, Row]) -> Evaluation:
        order = (GENERATED, TRUE_SHAPE, PASTED, REAL, OTHER, OTHER_PASTED, UNCHANGED, VOICE, SILENCE)
        return Evaluation(
            {name: self.figures[name] for name in order if name in self.figures},
            {name: self.sync[name] for name in order if name in self.sync},
            {"crop_jitter": _crop_jitter(self.transforms, self.data), "sound_shift": self.data.audio_offset},
            self.frames,
            self.fps,
            {name: self.points[name][0] for name in order if name in self.points},
            self.real,
            rows[GENERATED].crops,
        )


def _crop_jitter(transforms: np.ndarray, data: TrainingData) -> float:
    """How unsteadily crops are placed: rms second difference over time of the crop's centre, in face units."""
    half, frames = data.avatar.crop.size / 2, data.held_out
    linear = transforms[frames, :, :2].astype(np.float64)
    centre = np.einsum("nij,nj->ni", np.linalg.inv(linear), half - transforms[frames, :, 2])
    scale = np.hypot(linear[:, 0, 0], linear[:, 1, 0])[1:-1, None] / data.avatar.crop.px_per_unit
    shots = data.shots.numpy()[frames]
    together = (frames[2:] - frames[:-2] == 2) & (shots[2:] == shots[:-2])
    bend = (centre[:-2] - 2 * centre[1:-1] + centre[2:]) * scale
    return float(np.sqrt((bend[together] ** 2).sum(1).mean())) if together.any() else 0.0


def _bilabials(words: Path) -> np.ndarray:
    """(k,) seconds at which words that begin with p, b or m begin."""
    try:
        with words.open(encoding="utf-8", newline="") as file:
            found = [(row["word"].lower(), float(row["start_s"])) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{words}: not a table of tab-separated columns start_s, end_s and word") from error
    return np.array([start for word, start in found if word[:1] in BILABIALS])
