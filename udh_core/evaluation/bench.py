"""All that measures a row: the lips in it, how they move, how the pictures look, and how well it is in sync."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..face import crop as crop_module
from ..inference.sync_scorer import SyncReport, SyncScorer, load_mouths, sync_distances
from ..models.lpips import Lpips
from ..models.warping import WarpConfig
from .drivers import other_passage, own_audio
from .held_out import HeldOut
from .lips import LipDetector, open_lip_detector
from .mouth_metrics import MouthMetrics, read_bilabials
from .picture_metrics import PictureMetrics, find_areas
from .result import OTHER_PASTED, PASTED, REAL, UNCHANGED, Mouths, Row


class Measured(NamedTuple):
    """Of one row."""

    figures: dict[str, float]  # those that make sense for it
    sync: SyncReport | None


@dataclass(frozen=True)
class Bench:
    """The held-out frames, and the measures that are taken on them."""

    held_out: HeldOut
    lips: LipDetector
    mouth: MouthMetrics
    picture: PictureMetrics
    scorer: SyncScorer | None = None

    def measure(self, row: Row, generated: Mouths | None = None) -> Measured:
        """All figures of one row; `generated`: the mouths that the own audio makes, where they are known."""
        crops = row.mouths.crops
        figures = self.mouth.measure(row, generated) | self.picture.no_reference_metrics(crops)
        if row.driver.same_frames:
            figures |= self.picture.full_reference_metrics(crops)
        report = self._score(row)
        if report is not None:
            figures |= {"lse_c": report.lse_c, "lse_d": report.lse_d, "sync_offset": report.offset}
        return Measured(figures, report)

    def _score(self, row: Row) -> SyncReport | None:
        if self.scorer is None or row.driver.silent:
            return None
        network, held_out = self.scorer.network, self.held_out
        mouths = load_mouths(row.mouths.crops, held_out.spec, network.config)
        return SyncReport.of(sync_distances(network, held_out.data, mouths, held_out.frames, row.driver.audio))


def open_bench(
    held_out: HeldOut,
    *,
    scorer: SyncScorer | None = None,
    words: Path | None = None,
    models: Path | None = None,
) -> Bench:
    """Detect the real mouths and open the networks that measure.

    `words`: a table, see `evaluate`; FormatError when it is none. `models`: folder of the weight files.
    """
    bilabials_s = None if words is None else read_bilabials(words)
    lips = open_lip_detector(held_out, models)
    mouth = MouthMetrics(held_out, lips.detect(held_out.crops), bilabials_s)
    box = crop_module.mask_box(held_out.measured, WarpConfig(held_out.spec.size).stride)
    picture = PictureMetrics(held_out, find_areas(held_out), Lpips(models), box)
    return Bench(held_out, lips, mouth, picture, scorer)


def baselines(bench: Bench) -> dict[str, Row]:
    """The rows without a generator: real mouths, their own and those of other frames."""
    held_out, real = bench.held_out, bench.mouth.real
    own, other = own_audio(held_out), other_passage(held_out)
    pasted = bench.lips.detect(_paste(held_out, held_out.crops[held_out.other_rows]))
    return {
        PASTED: Row(pasted, own),
        REAL: Row(real, own),
        OTHER_PASTED: Row(pasted, other),
        UNCHANGED: Row(real, other),
    }


def _paste(held_out: HeldOut, mouths: np.ndarray) -> np.ndarray:
    """(m, S, S, 3) uint8: the real crops with the mouths of others (m, S, S, 3) uint8 blended in."""
    alpha = crop_module.mask(held_out.spec)[None, :, :, None]
    return np.rint(held_out.crops * (1 - alpha) + mouths * alpha).astype(np.uint8)
