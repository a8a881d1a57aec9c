"""Silero VAD v6 at 16 kHz: how probable speech is in each chunk of 32 ms (https://github.com/snakers4/silero-vad)."""

from __future__ import annotations

from torch import Tensor, nn

CHUNK_SAMPLES = 512
CONTEXT_SAMPLES = 64  # of the chunk before
_BINS = 129  # of a window of 256 samples: real parts, then imaginary parts
_PAD_SAMPLES = 64  # reflected at the end of a chunk

State = tuple[Tensor, Tensor]  # hidden and cell, (1, 1, 128) each


class SileroVAD(nn.Module):
    """STFT and four convolutions on each chunk, an LSTM over the chunks; causal: no look-ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _BINS, kernel_size=256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_BINS, 128, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, kernel_size=3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, kernel_size=3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, kernel_size=1)

    def forward(self, chunks: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Consecutive chunks (T, 64 + 512) float32, context first → (T,) float32 0..1, and the state after them."""
        hidden, after = self.lstm(self._encode(chunks)[None], state)
        return self.final_conv(hidden[0].relu()[..., None])[:, 0, 0].sigmoid(), after

    def _encode(self, chunks: Tensor) -> Tensor:
        """(T, 576) → (T, 128)."""
        spectrum = self.stft_conv(nn.functional.pad(chunks[:, None], (0, _PAD_SAMPLES), mode="reflect"))
        real, imaginary = spectrum.split(_BINS, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        return x[..., 0]
