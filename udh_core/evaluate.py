"""Evaluation on the held-out part: how well the redrawn mouths follow the sound, and how real they look.

Beside the generator stand rows that give every number a floor and a ceiling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import checkpoint, features, geometry, metrics
from .avatar import Avatar
from .batches import TrainingData, load_training_data, to_input
from .features import AudioFeatures
from .generator_file import open_generator
from .judge import SyncJudge, SyncReport, judge, load_mouths
from .landmarks import FaceMesh, box_of, mouth_opening
from .losses import Lpips
from .models.generator import Generator
from .painter import Painter, predict_shapes, steer
from .video import read_frames

MAX_FRAMES = 300
OTHER_PART = 0.45  # of the held-out part: how far away the other passage is (no whole number of equal sentences)


class Progress(NamedTuple):
    """How far an evaluation is."""

    row: str
    done: int
    total: int


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `rows` maps a row's name to its figures."""

    rows: dict[str, dict[str, float]]
    frames: int
    pictures: np.ndarray  # (k, 2, S, S, 3) uint8: real and generated crops of a few frames
    real_sync: SyncReport | None = None
    generated_sync: SyncReport | None = None

    def to_dict(self) -> dict[str, object]:
        sync = {"real": self.real_sync, "generated": self.generated_sync}
        return {"frames": self.frames, "rows": self.rows, "sync": {k: v.to_dict() for k, v in sync.items() if v}}


def evaluate(
    avatar: Avatar,
    generator: Path,
    *,
    syncnet: SyncJudge | None = None,
    models: Path | None = None,
    device: str = "cpu",
    max_frames: int = MAX_FRAMES,
) -> Iterator[Progress | Evaluation]:
    """Judge a generator on frames it has not seen; the last item is the Evaluation.

    Rows: the mouth driven by its own sound; by another passage; by silence; by the true shape (the ceiling of the
    pixels network); a frame of another time pasted in; the real frames themselves.
    """
    info, network = open_generator(generator, device)
    checkpoint.check_match(info, avatar=avatar.identity, crop=avatar.crop)
    data = load_training_data(avatar, info.encoder, float(info.config["options"]["held_out"]))
    bench = _Bench(data, network, syncnet, models, max_frames)
    silent = features.extract(np.zeros(16000 * 10, np.float32), info.encoder, device=device, models=models)
    rows: dict[str, dict[str, float]] = {}
    drawn: dict[str, np.ndarray] = {}
    for name, steered in bench.drives(silent).items():
        parts = []
        for part in bench.redraw(steered):
            parts.append(part)
            yield Progress(name, sum(map(len, parts)), len(bench.frames))
        drawn[name] = np.concatenate(parts)
    drawn |= {"another frame pasted": bench.pasted(), "real": bench.real}
    for name, crops in drawn.items():
        rows[name] = bench.figures(crops, other=name == "other passage")
        yield Progress("measure", len(rows), len(drawn))
    yield bench.finish(rows, drawn["generated"])


class _Bench:
    """The held-out frames, their truth, and what measures them."""

    def __init__(
        self, data: TrainingData, generator: Generator, syncnet: SyncJudge | None, models: Path | None, max_frames: int
    ) -> None:
        self.data, self.generator, self.syncnet = data, generator, syncnet
        self.frames = data.held_out[:max_frames]
        self.painter = Painter(data.avatar, data.avatar.track(), generator)
        self.mesh, self.lpips = FaceMesh(models), Lpips(models)
        self.real = np.array(data.crops[self.frames])
        self.weight = geometry.mask(data.avatar.crop) > 0.5
        self.sources = self._read_sources()
        self.shift = round(OTHER_PART * len(self.frames))
        self.opening = self._opening(self.real)

    def _read_sources(self) -> dict[int, np.ndarray]:
        """The whole held-out frames: landmarks are found in a picture, not in a bare crop."""
        first, last = int(self.frames[0]), int(self.frames[-1])
        wanted, found = set(self.frames.tolist()), {}
        for k, frame in enumerate(read_frames(self.data.avatar.video, start=first, count=last - first + 1)):
            if first + k in wanted:
                found[first + k] = frame
        return found

    def drives(self, silent: AudioFeatures) -> dict[str, Tensor]:
        """What steers each row: (m, frames, shape_width)."""
        own = AudioFeatures(self.data.features, self.data.rate_hz, "")
        times = self.data.avatar.frame_times_s()
        said = predict_shapes(self.generator, own, times[self.frames])
        resting = predict_shapes(self.generator, silent, np.full(1, 5.0)).expand(len(self.frames), -1)
        true = self.generator.encode_shapes(self.data.points[self.frames])
        driven = {"generated": said, "other passage": said.roll(-self.shift, 0), "silence": resting, "true shape": true}
        return {name: steer(self.generator, shapes) for name, shapes in driven.items()}

    def redraw(self, steered: Tensor) -> Iterator[np.ndarray]:
        """Redrawn crops in batches (b, S, S, 3) uint8."""
        for start in range(0, len(self.frames), 8):
            rows = slice(start, start + 8)
            yield self.painter.redraw(self.real[rows], steered[rows])

    def figures(self, drawn: np.ndarray, other: bool) -> dict[str, float]:
        """The figures of one row of crops (m, S, S, 3)."""
        opening = self._opening(drawn)
        result = {
            "opening_correlation": metrics.correlation(opening, self.opening),
            "opening_std_ratio": float(opening.std() / max(self.opening.std(), 1e-9)),
            "psnr_db": float(np.mean([metrics.psnr(a, b, self.weight) for a, b in zip(drawn, self.real, strict=True)])),
            "lpips": self._lpips(drawn),
            "sharpness_ratio": self._sharpness(drawn) / self._sharpness(self.real),
        }
        if other:
            result["own_truth_correlation"] = metrics.correlation(opening, np.roll(self.opening, -self.shift))
        return result

    def pasted(self) -> np.ndarray:
        """Real crops with the mouth of another frame blended in: the floor."""
        alpha = geometry.mask(self.data.avatar.crop)[None, :, :, None]
        other = np.roll(self.real, -self.shift, axis=0)
        return np.rint(self.real * (1 - alpha) + other * alpha).astype(np.uint8)

    def _opening(self, crops: np.ndarray) -> np.ndarray:
        """(m,) mouth openings re-detected on crops (m, S, S, 3) pasted into their frames."""
        track, spec, found = self.painter.track, self.data.avatar.crop, []
        for number, crop in zip(self.frames.tolist(), crops, strict=True):
            frame = geometry.paste(self.sources[number], crop, track.transforms[number], spec)
            found.append(self.mesh.locate(frame, box_of(track.landmarks[number]))[0])
        return mouth_opening(np.stack(found))

    def _lpips(self, drawn: np.ndarray) -> float:
        rows, columns = self.generator.pixels.box
        values = []
        for start in range(0, len(drawn), 16):
            part = slice(start, start + 16)
            pair = (to_input(x[part, rows, columns]) for x in (drawn, self.real))
            with torch.no_grad():
                values.append(self.lpips(*pair))
        return float(torch.cat(values).mean())

    def _sharpness(self, crops: np.ndarray) -> float:
        return float(np.mean([metrics.sharpness(crop, self.weight) for crop in crops]))

    def finish(self, rows: dict[str, dict[str, float]], drawn: np.ndarray) -> Evaluation:
        chosen = np.linspace(0, len(self.frames) - 1, 8).astype(int)
        widest = np.argsort(self.opening)[-len(self.opening) // 3 :]
        chosen = np.unique(np.concatenate([chosen[::2], widest[np.linspace(0, len(widest) - 1, 4).astype(int)]]))
        pictures = np.stack([self.real[chosen], drawn[chosen]], 1)
        real_sync, generated_sync = (self._sync(crops) for crops in (self.real, drawn))
        return Evaluation(rows, len(self.frames), pictures, real_sync, generated_sync)

    def _sync(self, crops: np.ndarray) -> SyncReport | None:
        if self.syncnet is None:
            return None
        network = self.syncnet.network
        mouths = load_mouths(crops, self.data.avatar.crop, network.config)
        return judge(network, self.data, mouths, self.frames)
