"""What the motion network could be built of instead: measured by `benchmarks.ablations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udh_core.models.blocks import DilatedBlock, MotionMember
from udh_core.models.generator import AdaptationConfig
from udh_core.speech.augmentation import AUGMENTATIONS, Augmentation


class Ahead(DilatedBlock):
    """Looks `ahead` rows into the future instead of two dilations."""

    def __init__(self, plain: DilatedBlock, ahead: int) -> None:
        super().__init__(plain.norm.normalized_shape[0], plain.dilation, plain.dropout.p)
        self.ahead = ahead

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        length = x.shape[1]
        padded = F.pad(x, (0, 0, 4 * self.dilation - self.ahead, self.ahead))
        around = torch.cat([padded[:, k * self.dilation :][:, :length] for k in range(5)], dim=-1)
        return x + self.output_proj(self.dropout(self.act(self.norm(self.dilated_conv(around)))))


class NearAttention(nn.Module):
    """Self-attention over blocks of `rows` and their neighbours."""

    def __init__(self, channels: int, rows: int = 25) -> None:
        super().__init__()
        self.rows, self.norm = rows, nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 4, dropout=0.2, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        batch, length, width = x.shape
        told = F.pad(self.norm(x), (0, 0, 0, -length % self.rows))
        blocks = told.reshape(batch, -1, self.rows, width)
        padded = F.pad(blocks, (0, 0, 0, 0, 1, 1))
        around = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=2)
        asked, around = blocks.flatten(0, 1), around.flatten(0, 1)
        answer = self.attention(asked, around, around, need_weights=False)[0]
        return x + answer.reshape(batch, -1, width)[:, :length]


def looking_ahead(*ahead: int) -> Callable[[MotionMember], None]:
    def change(member: MotionMember) -> None:
        blocks = zip(member.blocks, ahead, strict=True)
        member.blocks = nn.Sequential(*[Ahead(block, rows) for block, rows in blocks])  # pyright: ignore[reportArgumentType]

    return change


def attending(member: MotionMember) -> None:
    member.blocks.append(NearAttention(member.input_proj.out_features))


def dropping_values(member: MotionMember) -> None:
    for part in (member, *member.blocks):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(part, name, nn.Dropout(child.p))


STRONG = (
    Augmentation(0.8, formant_ratio=1.1, snr_db=15, bit_rate="16k"),
    Augmentation(0.9, formant_ratio=0.87, snr_db=10),
    Augmentation(1.1, formant_ratio=1.15, snr_db=15, bit_rate="16k"),
    Augmentation(1.22, formant_ratio=0.9, snr_db=10),
)


@dataclass(frozen=True)
class MotionVariant:
    """One thing changed."""

    name: str
    seed: int = 0
    sizes: dict[str, Any] = field(default_factory=dict)  # of MotionConfig
    change: Callable[[MotionMember], None] | None = None
    gain: bool = True  # the spread that averaging took away is brought back
    disguises: tuple[Augmentation, ...] = AUGMENTATIONS  # in which it hears the speech, too
    silence: bool = True  # rests in recordings of silence and faint noise
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    started: bool = False  # from what the network learnt of the other person


def motion_variants() -> Iterator[MotionVariant]:
    """Each against the first."""
    yield MotionVariant("as it is")
    yield from (MotionVariant(f"as it is, seed {seed}", seed) for seed in (1, 2))
    yield MotionVariant("spread not brought back", gain=False)
    yield MotionVariant("no disguises", disguises=())
    yield MotionVariant(
        "other speeds alone", disguises=tuple(Augmentation(augmentation.speed) for augmentation in AUGMENTATIONS)
    )
    yield MotionVariant("stronger disguises", disguises=STRONG)
    yield MotionVariant("voices not brought to the mean", adaptation=AdaptationConfig(mean_variance=np.inf))
    yield MotionVariant("movement not brought to the usual", adaptation=AdaptationConfig(movement_variance=np.inf))
    yield MotionVariant("movement brought back by twice at most", adaptation=AdaptationConfig(max_gain=2.0))
    yield MotionVariant("no silence", silence=False)
    yield MotionVariant("single values dropped", change=dropping_values)
    yield MotionVariant("started from the other person", started=True)
    yield MotionVariant("causal", change=looking_ahead(0, 0, 0))
    yield MotionVariant("0.1 s ahead", change=looking_ahead(1, 2, 2))
    yield MotionVariant("less context, 0.12 s", sizes={"dilations": (1, 2)})
    yield MotionVariant("more context, 0.6 s", sizes={"dilations": (1, 2, 4, 8)})
    yield MotionVariant("attention over 1.5 s", change=attending)
    yield from (MotionVariant(f"{width} channels", sizes={"channels": width}) for width in (64, 256))
    yield from (MotionVariant(f"{count} members", sizes={"members": count}) for count in (1, 6))
    yield from (MotionVariant(f"dropout {share}", sizes={"dropout": share}) for share in (0.0, 0.4))
