"""What a training run leaves beside its checkpoint for people: its losses and its last preview."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..udh_core import checkpoint
from ..udh_core.checkpoint import Kind
from ..udh_core.files import replacing
from ..udh_core.report.pictures import draw_training
from ..udh_core.training import StepReport


@dataclass
class Record:
    """The reports of a run and of those it goes on from."""

    out: Path  # of the checkpoint
    reports: list[StepReport] = field(default_factory=list)
    preview: np.ndarray | None = None  # (H, W, 3) uint8

    @property
    def _losses_file(self) -> Path:
        return self.out.with_suffix(".losses.json")

    @property
    def _preview_file(self) -> Path:
        return self.out.with_suffix(".preview.png")

    def follow(self, reports: Iterator[StepReport]) -> Iterator[StepReport]:
        """The same reports, kept; written down however the run ends."""
        try:
            for report in reports:
                self.preview = report.preview if report.preview is not None else self.preview
                self.reports.append(
                    StepReport(report.phase, report.step, report.done, report.losses, 0.0, report.metrics)
                )
                yield report
        finally:
            reports.close()  # type: ignore[attr-defined]
            self._write()

    def losses(self) -> list[float]:
        """Of the last phase, in order."""
        last = self.reports[-1].phase if self.reports else ""
        values = [report.losses for report in self.reports if report.phase == last and report.losses]
        return [one.get("loss", next(iter(one.values()))) for one in values]

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8: the last preview; black when there was none yet."""
        return self.preview if self.preview is not None else np.zeros((64, 192, 3), np.uint8)

    def plot(self) -> np.ndarray:
        """(H, W, 3) uint8: the losses over the steps."""
        return draw_training(self.reports)

    def _write(self) -> None:
        rows = [[r.phase, r.step, r.done, r.losses, r.metrics] for r in self.reports]
        with replacing(self._losses_file) as temporary:
            temporary.write_text(json.dumps(rows), encoding="utf-8")
        if self.preview is not None:
            with replacing(self._preview_file) as temporary:
                Image.fromarray(self.preview).save(temporary)


def open_record(out: Path, step: int) -> Record:
    """What is written down about the run of checkpoint `out`, up to this step of the networks that count steps."""
    record = Record(out)
    if record._losses_file.is_file():
        rows = json.loads(record._losses_file.read_text(encoding="utf-8"))
        reports = [StepReport(phase, at, done, losses, 0.0, metrics) for phase, at, done, losses, metrics in rows]
        record.reports = [r for r in reports if r.phase == "motion" or r.step <= step]
    if record._preview_file.is_file():
        record.preview = np.asarray(Image.open(record._preview_file).convert("RGB"))
    return record


def begin(
    out: Path, kind: Kind, resume: bool, made_from: dict[str, object], options: dict[str, object]
) -> tuple[bool, Record]:
    """(whether the run goes on, its record). It does when everything but its length is the same as before.

    Else what is there is set aside under another name: a trained person is never overwritten.
    """
    found = checkpoint.resume_path(out)
    if resume and found.is_file():
        info = checkpoint.read_info(found, "resume")
        before = {"avatar": info.made_from, "crop": info.crop, "encoder": info.encoder}
        ran_with = info.config.get("options", {})
        if before == made_from and _fixed(ran_with) == _fixed(options):
            return True, open_record(out, info.step)
    set_aside(out, kind)
    return False, Record(out)


def _fixed(options: dict[str, object]) -> dict[str, object]:
    """An empty text is what an option means that older files do not have."""
    return {name: value for name, value in options.items() if name not in checkpoint.FREE_SETTINGS and value != ""}


def set_aside(out: Path, kind: Kind) -> None:
    """Rename a finished checkpoint so that a new run cannot overwrite it; half-done runs are dropped."""
    checkpoint.resume_path(out).unlink(missing_ok=True)
    if out.is_file() and checkpoint.read_info(out, kind).step > 0:
        when = time.strftime("%Y-%m-%d %H.%M.%S", time.localtime(out.stat().st_mtime))
        out.replace(out.with_name(f"{out.stem} ({when}){out.suffix}"))
