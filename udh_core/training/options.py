"""What a user may choose when training a generator or a SyncNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..options import check, option

ModelSize = Literal["small", "standard"]
DrawnFrom = Literal["fixed", "bank"]


@dataclass(frozen=True)
class GeneratorOptions:
    """Options of the training of a generator."""

    steps: int = option(6000, "Updates of the warp network, where no minutes are given.", least=1, step=1)
    minutes: float | None = option(
        None, "Train this long instead of a number of steps; the learning rate fits itself to it.", least=0.001
    )
    model_size: ModelSize = option(
        "standard",
        "Width of the warp network: standard for the best pictures, small for slow machines.",
        choices=get_args(ModelSize),
    )
    batch: int = option(
        16, "Pictures for each update; lower it when the GPU runs out of memory.", least=1, most=1024, step=1
    )
    learning_rate: float = option(1e-3, "Learning rate of the warp network at its highest.", least=0, most=1)
    seed: int = option(0, "The same seed gives the same training.", least=0, step=1)
    held_out: float = option(
        0.1, "Part of the clip, at its end, that is kept for validation.", least=0.02, most=0.5, step=0.01
    )
    motion_steps: int = option(
        600, "Updates of each motion network, where no minutes are given: a minute or so.", least=1, step=1
    )
    motion_share: float = option(0.2, "Part of the minutes that the motion networks get.", least=0, most=1)
    mouth_weight: float = option(3.0, "Weight of an error at the lips; at the border of the mask it is 1.", least=1)
    lpips_weight: float = option(0.2, "Weight of the perceptual loss (LPIPS) beside L1.", least=0)
    sync_weight: float = option(0.03, "Weight of the SyncNet's loss, where a SyncNet is given.", least=0)
    shape_noise: float = option(
        0.1, "Noise on the mouth shapes in training, in standard deviations: predicted shapes are not exact.", least=0
    )
    drawn_from: DrawnFrom = option(
        "fixed",
        "What the warp network draws from: fixed: four crops of the person; bank: for every frame the nearest of 128, "
        "for a head that moves much.",
        choices=get_args(DrawnFrom),
    )
    check_every: int = option(250, "Steps from one validation on the held-out part to the next.", least=1, step=1)
    save_every: int = option(250, "Steps from one saved resume state to the next.", least=1, step=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class SyncNetOptions:
    """Options of the training of a SyncNet."""

    steps: int = option(1000, "Updates to train, where no minutes are given.", least=1, step=1)
    minutes: float | None = option(
        None, "Train this long instead of a number of steps; the learning rate fits itself to it.", least=0.001
    )
    neighbourhoods: int = option(
        6, "Moments of speech in each batch, with 16 windows around each.", least=2, most=1024, step=1
    )
    learning_rate: float = option(1e-3, "Learning rate at its highest.", least=0, most=1)
    seed: int = option(0, "The same seed gives the same training.", least=0, step=1)
    held_out: float = option(
        0.1, "Part of the clip, at its end, that is kept for validation.", least=0.02, most=0.5, step=0.01
    )
    check_every: int = option(100, "Steps from one validation on the held-out part to the next.", least=1, step=1)

    def __post_init__(self) -> None:
        check(self)
