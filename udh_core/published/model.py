"""Models of the published system: importing a `.pth`, opening what was imported, and drawing with it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, OptionError
from ..face.crop import CropSpec
from ..models import checkpoint
from ..models.checkpoint import Checkpoint
from ..weights.pth import read_state_dict
from . import rules
from .dataset import reference_inputs
from .rules import Square
from .unet import AUDIO_CHANNELS, SIDE, PublishedUNet, Variant

_FIRST_AUDIO_WEIGHT = "audio_model.conv1.conv.0.weight"


def import_model(source: Path, out: Path) -> Checkpoint:
    """Convert a published `.pth` once into a checkpoint of ours; FileError or FormatError, and nothing is written.

    Nothing that a pickle asks for is run. The numbers stay as they are; half precision becomes single.
    """
    source = Path(source)
    state = read_state_dict(source)
    variant = _variant_of(state, source)
    network = PublishedUNet(variant)
    _check_names(state, network.state_dict(), source)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise FormatError(f"{source} holds weights that are no numbers: its training diverged; give another checkpoint")
    made_from = f"{source.name}:{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    return save_published(out, network, made_from)


def save_published(out: Path, network: PublishedUNet, made_from: str, step: int = 0) -> Checkpoint:
    """Write a model of the published architecture as a checkpoint of ours, atomically."""
    config = {"model": "ultralight-unet", "variant": network.variant}
    # Its crop follows the published rule, not CropSpec's; only the size says something here.
    info = Checkpoint("published_model", config, step, network.variant, CropSpec(SIDE), made_from)
    checkpoint.save(Path(out), info, network.state_dict())
    return info


def open_published(path: Path, device: str = "cpu") -> tuple[Checkpoint, PublishedUNet]:
    """The network of an imported checkpoint, in eval mode; FormatError when the file is none."""
    path = Path(path)
    if path.is_file() and zipfile.is_zipfile(path):
        raise FormatError(f"{path} is a checkpoint as published; convert it once with udh import")
    info, tensors = checkpoint.load(path, "published_model")
    variant = info.config.get("variant")
    if variant not in get_args(Variant):
        raise FormatError(f"{path} holds a {variant} model of a newer version of this program; update it")
    network = PublishedUNet(cast(Variant, variant))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise FormatError(f"{path}: its tensors do not fit its description; import the .pth again") from error
    return info, _moved(network, device).eval()


def _moved(network: PublishedUNet, device: str) -> PublishedUNet:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"torch cannot compute on {device} here; use cpu, or install torch for it") from error


def _variant_of(state: Mapping[str, np.ndarray], source: Path) -> Variant:
    first = state.get(_FIRST_AUDIO_WEIGHT)
    channels = first.shape[1] if first is not None and first.ndim == 4 else None
    for variant, own in AUDIO_CHANNELS.items():
        if channels == own:
            return variant
    reason = "has no audio branch of it" if channels is None else f"takes {channels} rows of audio, not 16 or 128"
    raise FormatError(f"{source} is no U-Net of Ultralight-Digital-Human as published: it {reason}")


def _check_names(state: Mapping[str, np.ndarray], wanted: Mapping[str, Tensor], source: Path) -> None:
    """FormatError that names the first tensor which is missing, superfluous or of another shape."""
    for name, tensor in wanted.items():
        if name not in state:
            raise FormatError(f"{source} is another network, or incomplete: it has no {name}")
        if state[name].shape != tuple(tensor.shape):
            shapes = f"{state[name].shape}, not {tuple(tensor.shape)}"
            raise FormatError(f"{source} is another network: its {name} has the shape {shapes}")
    if unknown := sorted(set(state) - set(wanted)):
        raise FormatError(f"{source} is another network: it also has {unknown[0]}")


@dataclass(frozen=True)
class PublishedCompositor:
    """Redraws the face crop of frames with a published model, by the published rule."""

    network: PublishedUNet  # in eval mode

    @torch.inference_mode()
    def generate(self, crops: np.ndarray, features: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Crops (B, 168, 168, 3) uint8, features (N, 2, 1024) or (N, 16, 512), rows of them (B,) → crops redrawn."""
        device = next(self.network.parameters()).device
        images, audio = reference_inputs(crops, features, moments)
        drawn = self.network(images.to(device), audio.to(device))
        return rules.with_drawn(crops, drawn.float().cpu().numpy())

    def composite(
        self, frames: Sequence[np.ndarray], squares: Sequence[Square], features: np.ndarray, moments: np.ndarray
    ) -> list[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB with their squares redrawn; a square of side 0 leaves its frame as it is."""
        result = list(frames)
        shown = [k for k, frame in enumerate(frames) if rules.inside(frame.shape, squares[k])[0].stop]
        if shown:
            crops = np.stack([rules.crop(frames[k], squares[k]) for k in shown])
            for k, drawn in zip(shown, self.generate(crops, features, np.asarray(moments)[shown]), strict=True):
                result[k] = rules.paste(frames[k], drawn, squares[k])
        return result
