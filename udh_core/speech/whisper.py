"""The encoder of OpenAI's Whisper (tiny.en), its first blocks: a network of our own, under the names of transformers.

Importing transformers for it would take longer than a short render.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .encoders import WHISPER_WIDTH as WIDTH

HEADS = 6
HIDDEN = 1536  # of the feed-forward part of a block
MELS, ROWS = 80, 1500  # bands of the spectrum; what 30 s become


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, WIDTH) → (B, T, WIDTH)."""
        q, k, v = (
            proj(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, WIDTH) → (B, T, WIDTH)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperBlocks(nn.Module):
    """Two convolutions, positions, and the first `blocks` of the encoder's blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(ROWS, WIDTH)
        self.layers = nn.ModuleList(_Block() for _ in range(blocks))

    def forward(self, mel: Tensor) -> Tensor:
        """Spectra (B, 80, t) of 30 s, t = 3000, or less → what the last of the blocks gives, (B, ceil(t / 2), 384)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for block in self.layers:
            x = block(x)
        return x


def open_whisper(path: Path, blocks: int) -> WhisperBlocks:
    """From the weights of the whole encoder, in eval mode; float16 on disk, float32 here."""
    network = WhisperBlocks(blocks).eval()
    state = load_file(path)
    network.load_state_dict({name: state[name].to(torch.float32) for name in network.state_dict()})
    return network
