"""Features of the user's own wenet `encoder.onnx` (a streaming Conformer): 20 video frames a second.

The numbers are those of the published Ultralight-Digital-Human, whose generators were trained on such features. Its
export runs wenet with chunks of 16 rows, for which wenet's decoding window is (16 - 1) · 4 + 7 = 67 fbank frames
(4: subsampling, 7: what one row sees), and 16 chunks of history, all zero here because every video frame is run alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UdhError, WeightsError
from ..media.audio import SAMPLE_RATE_HZ
from .chunking import padded_slice, row_count
from .mel import MEL_HOP_SAMPLES, MEL_RATE_HZ, MEL_WINDOW_SAMPLES

FPS = 20
CHUNK_FRAMES = 67  # fbank frames the encoder sees per video frame
LEAD_FRAMES = 32  # of them before the video frame, as published
FRAME_SHAPE = (16, 512)  # what it returns per video frame
OFFSET = 100  # position of the chunk's first row in the positional encoding, as published
ATTENTION_CACHE = (3, 8, 16, 128)  # layers, heads, rows of history, keys and values of 64
CONVOLUTION_CACHE = (3, 1, 512, 14)  # layers, batch, channels, rows that a kernel of 15 looks back
INPUTS = {"chunk", "offset", "att_cache", "cnn_cache"}


class WenetEncoder:
    """The user's wenet `encoder.onnx`: (16, 512) per video frame at 20 fps, stored as one row of 8192."""

    rate_hz, width = float(FPS), FRAME_SHAPE[0] * FRAME_SHAPE[1]
    block_rows = 200  # 10 s

    def __init__(self, name: str, path: Path, device: str) -> None:
        self.name = name
        self.fbank = _import_extra("kaldi_native_fbank")
        self.session = _onnx_session(path, device)

    def blocks(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """(n,) float32 16 kHz → (t, 8192) float32, 200 rows at a time; FormatError: the file is no wenet encoder."""
        total = row_count(len(waveform), self.rate_hz)
        for first in range(0, total, self.block_rows):
            yield self._encode(waveform, first, min(self.block_rows, total - first))

    def _encode(self, waveform: np.ndarray, first: int, rows: int) -> np.ndarray:
        step = MEL_RATE_HZ // FPS  # fbank frames per video frame
        frames = (rows - 1) * step + CHUNK_FRAMES
        start = (first * step - LEAD_FRAMES) * MEL_HOP_SAMPLES
        samples = padded_slice(waveform, start, (frames - 1) * MEL_HOP_SAMPLES + MEL_WINDOW_SAMPLES)
        fbank = self._fbank(samples * np.float32(32768), frames)
        return np.stack([self._run(fbank[i * step : i * step + CHUNK_FRAMES]) for i in range(rows)])

    def _fbank(self, samples: np.ndarray, frames: int) -> np.ndarray:
        """(n,) in int16 units → (frames, 80) Kaldi log filterbank, 25/10 ms."""
        options = self.fbank.FbankOptions()
        options.frame_opts.dither = 0.0
        options.energy_floor = 0.0
        options.mel_opts.num_bins = 80
        online = self.fbank.OnlineFbank(options)
        online.accept_waveform(SAMPLE_RATE_HZ, samples.tolist())
        return np.stack([online.get_frame(i) for i in range(frames)]).astype(np.float32)

    def _run(self, chunk: np.ndarray) -> np.ndarray:
        feeds = {
            "chunk": chunk[None, None],
            "offset": np.array([OFFSET], np.int64),
            "att_cache": np.zeros(ATTENTION_CACHE, np.float32),
            "cnn_cache": np.zeros(CONVOLUTION_CACHE, np.float32),
        }
        try:
            output = np.asarray(self.session.run(None, feeds)[0])
        except _onnx_errors() as e:
            raise FormatError(f"{self.name}: not wenet's streaming encoder: {_first_line(e)}") from e
        if output.shape[1:] != FRAME_SHAPE:
            raise FormatError(f"{self.name}: the encoder returns {output.shape}, not (1, 16, 512), per frame")
        return output[0].reshape(-1).astype(np.float32)


def _import_extra(module: str) -> Any:  # noqa: ANN401 - a module without stubs
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise UdhError(f"wenet features need {module}: run `pip install onnxruntime kaldi-native-fbank`") from e


def _onnx_session(path: Path, device: str) -> Any:  # noqa: ANN401 - onnxruntime is optional
    runtime = _import_extra("onnxruntime")
    if not path.is_file():
        raise WeightsError(f"wenet:{path}: there is no such file; give the path of wenet's encoder.onnx")
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [p for p in [*wanted, "CPUExecutionProvider"] if p in runtime.get_available_providers()]
    try:
        session = runtime.InferenceSession(str(path), providers=providers)
    except _onnx_errors() as e:
        raise FormatError(f"wenet:{path} is not an ONNX model that opens here: {_first_line(e)}") from e
    inputs = {node.name for node in session.get_inputs()}
    if inputs != INPUTS:
        raise FormatError(f"wenet:{path} has inputs {', '.join(sorted(inputs))}; wenet's streaming encoder is needed")
    return session


def _onnx_errors() -> tuple[type[Exception], ...]:
    """onnxruntime's errors have no base class of their own."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
