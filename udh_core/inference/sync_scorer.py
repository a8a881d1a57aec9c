"""The SyncNet as a scorer: opens its checkpoint, embeds mouths and audio, is a loss and gives distances."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import metrics
from ..avatar.dataset import TrainingData
from ..errors import NoFaceError
from ..face.crop import CropSpec, mouth_window
from ..intervals import run_starts
from ..models import checkpoint
from ..models.checkpoint import Checkpoint
from ..models.syncnet import SyncNet, SyncNetConfig
from ..models.tensors import interpolate_rows, to_input
from ..speech.features import AudioFeatures

OFFSETS = np.arange(-15, 16)  # frames the audio is shifted by when something is scored; as in SyncNet's evaluation
FAR = 3  # frames from which a shift counts as off-sync
MIN_SPOKEN = 0.6  # of a window's frames: it counts as one with speech
WINDOW_RATE_HZ = 50.0  # feature times a window is sampled at, whatever the encoder's own rate
_GREY = (0.299, 0.587, 0.114)


def grey_mouths(crops: Tensor, spec: CropSpec, config: SyncNetConfig) -> Tensor:
    """crops (B, 3, S, S) RGB 0..1 → (B, height, width) grey lower faces as the SyncNet takes them."""
    rows, columns = mouth_window(spec)
    weight = crops.new_tensor(_GREY)[None, :, None, None]
    grey = (crops[:, :, rows, columns] * weight).sum(1, keepdim=True)
    size = (config.height, config.width)
    return F.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def window_rows(middles_s: np.ndarray, rate_hz: float, config: SyncNetConfig) -> Tensor:
    """(n, rows) float32 positions in features of `rate_hz` of the windows around these times (n,)."""
    offsets_s = (np.arange(config.rows) - (config.rows - 1) / 2) / WINDOW_RATE_HZ
    return torch.from_numpy(((middles_s[:, None] + offsets_s) * rate_hz - 0.5).astype(np.float32))


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
    """How well in-sync is distinguished from off-sync, over windows with speech.

    LSE-D and LSE-C follow Wav2Lip's definitions (least mean distance over the offsets; median less least), over the
    embedding of this SyncNet: they compare only with figures of the same one.
    """

    windows: int
    auc: float  # in-sync against off-sync by FAR frames or more
    exact_1: float
    within1_1: float  # offset within ±1 frame, one window
    exact_10: float
    within1_10: float  # likewise, ten consecutive windows averaged
    offset: int  # frames by which the sound comes late, over all windows
    lse_c: float
    lse_d: float
    curve: np.ndarray  # (31,) float64, mean distance over the sound shifted by −15…15 frames

    @staticmethod
    def of(distances: np.ndarray) -> SyncReport:
        """From distances (n, 31) of n windows, in order, over OFFSETS; n must not be 0."""
        zero, far = int(np.flatnonzero(OFFSETS == 0)[0]), np.abs(OFFSETS) >= FAR
        curve = distances.mean(0)
        return SyncReport(
            windows=len(distances),
            auc=metrics.auc(-distances[:, zero], -distances[:, far].ravel()),
            exact_1=metrics.offset_accuracy(distances, OFFSETS, 1, 0),
            within1_1=metrics.offset_accuracy(distances, OFFSETS, 1, 1),
            exact_10=metrics.offset_accuracy(distances, OFFSETS, 10, 0),
            within1_10=metrics.offset_accuracy(distances, OFFSETS, 10, 1),
            offset=int(OFFSETS[curve.argmin()]),
            lse_c=float(np.median(curve) - curve.min()),
            lse_d=float(curve.min()),
            curve=curve,
        )

    def to_dict(self) -> dict[str, float]:
        """The figures; the curve as distance_-15 … distance_15."""
        distances = {f"distance_{o}": float(d) for o, d in zip(OFFSETS, self.curve, strict=True)}
        return {**{k: v for k, v in asdict(self).items() if k != "curve"}, **distances}


@dataclass(frozen=True)
class SyncScorer:
    """A frozen SyncNet in eval mode."""

    info: Checkpoint
    network: SyncNet

    @property
    def frames(self) -> int:
        """Number of consecutive frames in a window."""
        return self.network.config.frames

    def loss(self, drawn: Tensor, data: TrainingData, frames: np.ndarray) -> Tensor:
        """1 − cosine of generated runs and their sound.

        drawn (runs · length, 3, S, S) RGB 0..1; frames (runs, length): their numbers, consecutive within a run.
        """
        config = self.network.config
        mouths = grey_mouths(drawn.clamp(0, 1), data.avatar.crop, config).unflatten(0, (-1, config.frames))
        rows = window_rows(data.audio_times_s(frames.mean(1)), data.rate_hz, config)
        low, high = max(0, int(rows.min()) - 1), int(rows.max()) + 3
        part = torch.from_numpy(np.array(data.features[low:high], np.float32))
        sound = sound_windows(part, rows - low).to(drawn.device)
        return (1 - (self.network.embed_mouths(mouths) * self.network.embed_audio(sound)).sum(1)).mean()


def open_syncnet(path: Path, device: str = "cpu") -> SyncScorer:
    """The SyncNet of a checkpoint, frozen; FormatError when the file is not one."""
    info, tensors = checkpoint.load(Path(path), "syncnet")
    network = checkpoint.build(path, lambda: SyncNet(SyncNetConfig.from_dict(info.config.get("model"))), tensors)
    return SyncScorer(info, network.to(device).eval().requires_grad_(False))


def save_syncnet(path: Path, info: Checkpoint, network: SyncNet) -> None:
    """Write a SyncNet's checkpoint atomically."""
    checkpoint.save(Path(path), info, network.state_dict())


@dataclass(frozen=True)
class AudioSegment:
    """The audio at each of m frames."""

    sound: AudioFeatures
    times_s: np.ndarray  # (m,) float64: where in that audio
    spoken: np.ndarray  # (m,) bool

    @staticmethod
    def own(data: TrainingData, frames: np.ndarray) -> AudioSegment:
        """The clip's own sound at these frames (m,)."""
        own = AudioFeatures(data.features, data.rate_hz, "")
        return AudioSegment(own, data.audio_times_s(frames), data.spoken[frames])


@torch.no_grad()
def sync_distances(
    network: SyncNet, data: TrainingData, mouths: np.ndarray, frames: np.ndarray, segment: AudioSegment
) -> np.ndarray:
    """(n, 31) distances between mouths (m, height, width) uint8 of `frames` (m,), sorted, and sound shifted by OFFSETS.

    Only windows with speech, where there are any. With real mouths they say how good the SyncNet is, with generated
    ones how good the generator is. NoFaceError when nowhere enough frames follow each other.
    """
    network.eval()
    config, fps, device = network.config, float(data.avatar.info.fps), network.feature_mean.device
    rows = np.searchsorted(frames, run_starts(frames, data.shots.numpy(), config.frames))[:, None]
    rows = rows + np.arange(config.frames)
    spans_s = np.ptp(segment.times_s[rows], axis=1)
    rows = rows[np.isclose(spans_s, (config.frames - 1) / fps)]  # without a cut in the audio
    spoken = segment.spoken[rows].mean(1) >= MIN_SPOKEN
    rows = rows[spoken] if spoken.any() else rows
    if len(rows) == 0:
        raise NoFaceError(f"{data.avatar.root}: no {config.frames} frames in a row to score; use a longer clip")
    stacks = torch.from_numpy(mouths[rows]).float() / 255
    seen = torch.cat([network.embed_mouths(part.to(device)) for part in stacks.split(256)])
    times_s = segment.times_s[rows].mean(1)[:, None] + OFFSETS / fps
    audio = _embed_at(network, segment.sound, times_s.reshape(-1)).unflatten(0, times_s.shape)
    return torch.linalg.vector_norm(seen[:, None] - audio, dim=2).cpu().numpy().astype(np.float64)


def _embed_at(network: SyncNet, sound: AudioFeatures, times_s: np.ndarray) -> Tensor:
    """(n, embedding) of the audio windows around these times (n,); a time that comes again is embedded once."""
    unique_s, places = np.unique(np.round(times_s, 6), return_inverse=True)
    values = torch.from_numpy(np.array(sound.values, np.float32))
    windows = sound_windows(values, window_rows(unique_s, sound.rate_hz, network.config))
    device = network.feature_mean.device
    embedded = torch.cat([network.embed_audio(part.to(device)) for part in windows.split(256)])
    return embedded[torch.from_numpy(places).to(device)]
