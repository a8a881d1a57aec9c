"""A trained SyncNet at work: opening its checkpoint, embedding mouths and sound, and its loss for the generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import checkpoint, metrics
from .batches import TrainingData, interpolate_rows, run_starts, to_input
from .checkpoint import Checkpoint
from .errors import FormatError
from .geometry import CropSpec, mouth_window
from .models.syncnet import SyncNet, SyncNetConfig

OFFSETS = np.arange(-15, 16)  # frames the sound is shifted by when something is judged
WINDOW_RATE_HZ = 50.0  # feature times a window is sampled at, whatever the encoder's own rate
_GREY = (0.299, 0.587, 0.114)


def grey_mouths(crops: Tensor, spec: CropSpec, config: SyncNetConfig) -> Tensor:
    """crops (B, 3, S, S) RGB 0..1 → (B, height, width) grey lower faces as the SyncNet sees them."""
    rows, columns = mouth_window(spec)
    weight = crops.new_tensor(_GREY)[None, :, None, None]
    grey = (crops[:, :, rows, columns] * weight).sum(1, keepdim=True)
    size = (config.height, config.width)
    return F.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def window_rows(starts: np.ndarray, fps: float, rate_hz: float, config: SyncNetConfig) -> Tensor:
    """(n, rows) float32 positions in the features of the sound that goes with the frames starting at `starts` (n,)."""
    middle_s = (np.asarray(starts, np.float64) + config.frames / 2) / fps
    offsets_s = (np.arange(config.rows) - (config.rows - 1) / 2) / WINDOW_RATE_HZ
    return torch.from_numpy(((middle_s[:, None] + offsets_s) * rate_hz - 0.5).astype(np.float32))


def sound_windows(features: Tensor, rows: Tensor) -> Tensor:
    """features (T, D) at rows (n, r) → (n, r, D)."""
    return interpolate_rows(features[None], rows.reshape(1, -1))[0].unflatten(0, rows.shape)


def load_mouths(crops: np.ndarray, spec: CropSpec, config: SyncNetConfig) -> np.ndarray:
    """(N, height, width) uint8 grey mouths of crops (N, S, S, 3) uint8."""
    parts = []
    for start in range(0, len(crops), 256):
        grey = grey_mouths(to_input(crops[start : start + 256]), spec, config)
        parts.append(grey.mul(255).round().clamp(0, 255).to(torch.uint8).numpy())
    return np.concatenate(parts)


@dataclass(frozen=True)
class SyncReport:
    """How well in-sync is told from off-sync."""

    auc: float
    exact_1: float
    within1_1: float  # offset within ±1 frame, one window
    exact_10: float
    within1_10: float  # likewise, ten windows averaged
    curve: np.ndarray  # (31,) float, mean distance over offset −15…15

    def to_dict(self) -> dict[str, float]:
        return {k: v for k, v in asdict(self).items() if k != "curve"}


@dataclass(frozen=True)
class SyncJudge:
    """A frozen SyncNet in eval mode."""

    info: Checkpoint
    network: SyncNet

    @property
    def frames(self) -> int:
        """Consecutive frames it looks at."""
        return self.network.config.frames

    def loss(self, drawn: Tensor, data: TrainingData, frames: np.ndarray) -> Tensor:
        """1 − cosine of generated runs and their sound.

        drawn (runs · frames, 3, S, S) RGB 0..1, consecutive within a run; frames: their numbers, likewise.
        """
        config = self.network.config
        mouths = grey_mouths(drawn.clamp(0, 1), data.avatar.crop, config).unflatten(0, (-1, config.frames))
        starts = frames.reshape(-1, config.frames)[:, 0]
        rows = window_rows(starts, float(data.avatar.info.fps), data.rate_hz, config)
        low, high = max(0, int(rows.min()) - 1), int(rows.max()) + 3
        part = torch.from_numpy(np.array(data.features[low:high], np.float32))
        sound = sound_windows(part, rows - low).to(drawn.device)
        return (1 - (self.network.embed_mouths(mouths) * self.network.embed_audio(sound)).sum(1)).mean()


def open_syncnet(path: Path, device: str = "cpu") -> SyncJudge:
    """The SyncNet of a checkpoint, frozen; FormatError when the file is not one."""
    info, tensors = checkpoint.load(Path(path), "syncnet")
    network = SyncNet(SyncNetConfig.from_dict(info.config["model"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise FormatError(f"{path}: its tensors do not fit its description; train again") from error
    return SyncJudge(info, network.to(device).eval().requires_grad_(False))


def save_syncnet(path: Path, info: Checkpoint, network: SyncNet) -> None:
    """Write a SyncNet's checkpoint atomically."""
    checkpoint.save(Path(path), info, network.state_dict())


@torch.no_grad()
def judge(network: SyncNet, data: TrainingData, mouths: np.ndarray, frames: np.ndarray) -> SyncReport:
    """Judge how mouths (m, height, width) uint8 of `frames` (m,), sorted, fit the clip's sound at shifts of −15…15.

    Real mouths judge the SyncNet, generated ones judge the generator.
    """
    network.eval()
    config, fps = network.config, float(data.avatar.info.fps)
    starts = run_starts(frames, data.shots.numpy(), config.frames)
    features = torch.from_numpy(np.array(data.features, np.float32))
    rows = np.searchsorted(frames, starts)
    stacks = torch.from_numpy(mouths[rows[:, None] + np.arange(config.frames)]).float() / 255
    seen = torch.cat([network.embed_mouths(part) for part in stacks.split(256)])
    distances = np.empty((len(starts), len(OFFSETS)))
    for k, offset in enumerate(OFFSETS):
        sound = sound_windows(features, window_rows(starts + offset, fps, data.rate_hz, config))
        heard = torch.cat([network.embed_audio(part) for part in sound.split(256)])
        distances[:, k] = 1 - (seen * heard).sum(1).numpy()
    far, zero = np.abs(OFFSETS) >= 3, int(np.flatnonzero(OFFSETS == 0)[0])

    def accuracy(averaged: int, tolerance: int) -> float:
        return metrics.offset_accuracy(distances, OFFSETS, averaged, tolerance)

    area = metrics.auc(-distances[:, zero], -distances[:, far].ravel())
    return SyncReport(area, accuracy(1, 0), accuracy(1, 1), accuracy(10, 0), accuracy(10, 1), distances.mean(0))
