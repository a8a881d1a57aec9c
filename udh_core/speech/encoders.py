"""The audio encoders: each turns a waveform into rows of numbers at a fixed rate, block by block.

One rule for time: row k describes the moment (k + 0.5) / rate_hz seconds. Where a model's own grid differs (its first
row is centred on 0, or its windows are longer than its hop) the waveform is shifted by that fraction of a hop.

To add an encoder, write a class with `name`, `rate_hz`, `width` and `blocks` (see `Encoder`; `MelEncoder` is the
shortest) and add a line to ENCODERS. Command line, nodes, checkpoints and caches take it from there. A network's file
goes into `weights.registry`; long audio is cut and joined by `chunking.overlap_add`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import FormatError, OptionError, WeightsError
from ..media.audio import SAMPLE_RATE_HZ
from ..weights import registry
from .chunking import overlap_add, padded_slice, row_count
from .mel import MEL_HOP_SAMPLES, MEL_RATE_HZ, log_mel, whisper_mel
from .wenet import WenetEncoder

WHISPER_FILE = "whisper_tiny_en_encoder.safetensors"
HUBERT_ID = "facebook/hubert-large-ls960-ft"
WHISPER_SAMPLES = 480_000  # Whisper's encoder always sees 30 s
WHISPER_HOP_SAMPLES = 320  # two mel hops: its second convolution has stride 2
WHISPER_WIDTH = 384
# The last block turns sounds into words, which a mouth does not show. Ridge regression from rows within 0.12 s to the
# mouth opening, cross-validated, by block 1–4: news presenter .72 .74 .75 .68, GRID speaker .82 .85 .86 .85.
WHISPER_BLOCKS = 3
# These columns say where in its 30 s window a row stands, not which sound it is. Through windows shifted by 1–15 s they
# correlate by less than 0.7 for at least one of three speakers (median column: 0.97): a network could be trained on the
# position in place of the sound.
WHISPER_POSITION_COLUMNS = (7, 8, 47, 56, 58, 62, 85, 101, 136, 137, 172, 200, 249, 250, 294, 295, 368, 381)


class Encoder(Protocol):
    """An opened audio encoder; opening one loads its model."""

    name: str  # its canonical name, which checkpoints and caches keep
    rate_hz: float  # rows per second; SAMPLE_RATE_HZ / rate_hz is a whole number
    width: int  # numbers in a row

    def blocks(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """(n,) float32 16 kHz → blocks (t, width) float32, row_count(n, rate_hz) rows in all.

        The rows must not depend on where the blocks begin, beyond rounding: memory is bounded, results are not changed.
        """
        ...


class Source(NamedTuple):
    """What an encoder is opened from."""

    name: str
    model: str  # the user's own, given after the colon; "" where none is
    device: str
    models: Path | None  # the folder of weight files


@dataclass(frozen=True)
class EncoderKind:
    """How encoders of one kind are opened, and what they need. The first part of their names is the key in ENCODERS."""

    open: Callable[[Source], Encoder]
    weights: tuple[str, ...] = ()  # files of `weights.registry`
    model: str = ""  # in words, what model of the user's may follow a colon; "": none
    needs_model: bool = False


ENCODERS: dict[str, EncoderKind] = {
    "whisper-tiny": EncoderKind(lambda source: WhisperEncoder(source.device, source.models), weights=(WHISPER_FILE,)),
    "mel80": EncoderKind(lambda source: MelEncoder()),
    "hubert": EncoderKind(
        lambda source: SpeechModelEncoder(source.name, source.model or HUBERT_ID, source.device),
        model="model id or folder",
    ),
    "wenet": EncoderKind(
        lambda source: WenetEncoder(source.name, Path(source.model).expanduser(), source.device),
        model="encoder.onnx",
        needs_model=True,
    ),
}


def encoder_names() -> list[str]:
    """The names `open_encoder` understands; <…> stands for the user's own model."""
    names = []
    for name, kind in ENCODERS.items():
        names += [] if kind.needs_model else [name]
        names += [f"{name}:<{kind.model}>"] if kind.model else []
    return names


def canonical_name(name: str) -> str:
    """One spelling per encoder, so that names can be compared; OptionError for an unknown one."""
    key, colon, model = name.partition(":")
    kind = ENCODERS.get(key)
    if kind is None or (colon and not (kind.model and model)) or (kind.needs_model and not model):
        raise OptionError(f"there is no audio encoder “{name}”; choose one of {', '.join(encoder_names())}")
    return "hubert" if name == f"hubert:{HUBERT_ID}" else name


def weight_files(name: str) -> tuple[str, ...]:
    """The files of `weights.registry` that an encoder needs."""
    kind = ENCODERS.get(name.partition(":")[0])
    return kind.weights if kind else ()


def open_encoder(name: str, *, device: str = "cpu", models: Path | None = None) -> Encoder:
    """Load the encoder; `models` is the folder of weight files (default: weights.models_dir()).

    OptionError: no such name. WeightsError: no such file or model. FormatError: it is another kind of model. UdhError:
    an optional package is missing.
    """
    name = canonical_name(name)
    key, _, model = name.partition(":")
    return ENCODERS[key].open(Source(name, model, device, models))


def rows_of_window(encoder: Encoder, waveform: np.ndarray) -> np.ndarray:
    """(t, width) float32 of a few seconds (n,) by themselves, whole rows: for speech that is still going on."""
    if isinstance(encoder, WhisperEncoder):
        return encoder.short_rows(waveform)
    return np.concatenate(list(encoder.blocks(waveform)))


class MelEncoder:
    """80 log-mel bands at 100 Hz; no weights, no context beyond 25 ms."""

    name, rate_hz, width = "mel80", float(MEL_RATE_HZ), 80
    block_rows = 6000

    def blocks(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """(n,) float32 16 kHz → (t, 80) float32, a minute at a time."""
        total = row_count(len(waveform), self.rate_hz)
        for first in range(0, total, self.block_rows):
            rows = min(self.block_rows, total - first)
            # log_mel centres row j on sample j · hop: begin half a hop late, and two rows early for whole windows
            start = (first - 2) * MEL_HOP_SAMPLES + MEL_HOP_SAMPLES // 2
            yield log_mel(padded_slice(waveform, start, (rows + 4) * MEL_HOP_SAMPLES), self.width)[2 : 2 + rows]


class WhisperEncoder:
    """The third block of Whisper tiny.en's encoder: 366 numbers at 50 Hz from 30 s windows, cross-faded."""

    name, rate_hz = "whisper-tiny", SAMPLE_RATE_HZ / WHISPER_HOP_SAMPLES
    width = WHISPER_WIDTH - len(WHISPER_POSITION_COLUMNS)

    def __init__(self, device: str, models: Path | None) -> None:
        from .whisper import open_whisper

        self.device = device
        self.model = open_whisper(registry.weight_path(WHISPER_FILE, models), WHISPER_BLOCKS).to(device)

    def blocks(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """(n,) float32 16 kHz → (t, 366) float32, at most 30 s at a time."""

        def encode(first: int, rows: int) -> np.ndarray:
            # Whisper centres row j on sample j · hop: begin half a hop late; what is missing to 30 s is silence
            start = first * WHISPER_HOP_SAMPLES + WHISPER_HOP_SAMPLES // 2
            return self._encode(padded_slice(waveform, start, WHISPER_SAMPLES))[:rows]

        total = row_count(len(waveform), self.rate_hz)
        block_rows = WHISPER_SAMPLES // WHISPER_HOP_SAMPLES
        return overlap_add(total, encode, block_rows=block_rows, margin_rows=25, fade_rows=50)

    def short_rows(self, waveform: np.ndarray) -> np.ndarray:
        """(n,) float32, 30 s at most and whole rows → (n // 320, 366): seen by itself, without silence behind it.

        Two seconds cost a thirtieth of `blocks`, but the rows are others: Whisper was trained on 30 s.
        """
        return self._encode(waveform[WHISPER_HOP_SAMPLES // 2 :])

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """(n,), n a multiple of 160 → (ceil(n / 320), 366)."""
        import torch

        with torch.inference_mode():
            mel = torch.from_numpy(whisper_mel(samples)).to(self.device)
            rows_384 = self.model(mel[None])[0].cpu().numpy()
        return np.delete(rows_384, WHISPER_POSITION_COLUMNS, axis=1)


class SpeechModelEncoder:
    """Last hidden state of any HuBERT, wav2vec 2.0 or WavLM that transformers opens, from 22 s windows."""

    block_s, margin_s, fade_s = 22, 2, 1  # the attention sees 2–20 s to either side of every row it delivers

    def __init__(self, name: str, model: str, device: str) -> None:
        self.name, self.device = name, device
        self.model, self.normalise = _speech_model(model)
        self.model.to(device)
        config = self.model.config
        self.hop = math.prod(config.conv_stride)
        self.window = _receptive_field(config.conv_kernel, config.conv_stride)
        self.rate_hz, self.width = SAMPLE_RATE_HZ / self.hop, config.hidden_size

    def blocks(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """(n,) float32 16 kHz → (t, width) float32, at most 22 s at a time."""
        mean, scale = _mean_and_scale(waveform) if self.normalise else (0.0, 1.0)

        def encode(first: int, rows: int) -> np.ndarray:
            # the convolutions are unpadded: give each row its whole window, centred on its hop
            start = first * self.hop - (self.window - self.hop) // 2
            samples = padded_slice(waveform, start, (rows - 1) * self.hop + self.window, fill=mean)
            return self._encode((samples - np.float32(mean)) * np.float32(scale))

        return overlap_add(
            row_count(len(waveform), self.rate_hz),
            encode,
            block_rows=round(self.block_s * self.rate_hz),
            margin_rows=round(self.margin_s * self.rate_hz),
            fade_rows=round(self.fade_s * self.rate_hz),
        )

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """(n,) → (t, width)."""
        import torch

        with torch.inference_mode():
            return self.model(torch.from_numpy(samples)[None].to(self.device)).last_hidden_state[0].cpu().numpy()


def _mean_and_scale(waveform: np.ndarray) -> tuple[float, float]:
    """wav2vec 2.0 sees the whole recording as (x - mean) · scale with scale = 1 / sqrt(variance + 1e-7)."""
    return float(waveform.mean(dtype=np.float64)), float(1 / np.sqrt(waveform.var(dtype=np.float64) + 1e-7))


def _receptive_field(kernels: list[int], strides: list[int]) -> int:
    """How many samples one row of a stack of unpadded convolutions sees."""
    field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return field


def _speech_model(model: str) -> tuple[Any, bool]:
    """(network, whether it expects a normalised waveform) by model id or folder."""
    from safetensors import SafetensorError
    from transformers import AutoModel

    folder = Path(model).expanduser()
    if folder.is_dir():
        model = str(folder)
    elif _is_path(model):
        raise WeightsError(f"hubert:{model}: no such folder; give one with config.json and model.safetensors")
    try:
        network = AutoModel.from_pretrained(model)  # prefers safetensors; else torch.load with weights_only
    except (OSError, ValueError, SafetensorError) as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        remedy = "with a network it downloads by itself, or save the model to a folder and use hubert:FOLDER"
        raise WeightsError(f"hubert:{model} cannot be opened ({reason}); {remedy}") from e
    if not hasattr(network.config, "conv_stride") or not hasattr(network.config, "conv_kernel"):
        raise FormatError(f"hubert:{model} is a {network.config.model_type}; HuBERT, wav2vec 2.0 or WavLM is needed")
    return network.float().eval(), _wants_normalised(model)


def _wants_normalised(model: str) -> bool:
    from transformers import Wav2Vec2FeatureExtractor

    try:
        return bool(Wav2Vec2FeatureExtractor.from_pretrained(model).do_normalize)
    except OSError:  # a folder without preprocessor_config.json
        return True


def _is_path(model: str) -> bool:
    """A model id is owner/name; anything else can only be meant as a folder."""
    path = Path(model).expanduser()
    return path.is_absolute() or len(path.parts) != 2 or model.startswith(".")
