"""What a training run leaves beside its checkpoint, and what becomes of that when the next run begins.

me.safetensors · me.resume.safetensors · me.losses.json · me.preview.png · me.html (the report, where there is one)
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from ..errors import FileError, FormatError, MismatchError
from ..files import atomic_write, check_name, output_lock
from ..models import checkpoint
from ..models.checkpoint import Checkpoint, resume_path
from ..models.renamed import PHASES
from ..progress import Progress
from .loop import Schedule, StepReport
from .options import GeneratorOptions, SyncNetOptions
from .processes import Processes

_log = logging.getLogger(__name__)

# What becomes of the files of an earlier run of the same name.
# new: there must be none; resume: the run goes on from them; auto: it goes on where avatar and settings are the same,
# else they are set aside; set aside: they get another name; overwrite: they are replaced.
Start = Literal["new", "resume", "auto", "set aside", "overwrite"]


@contextmanager
def opened(out: Path, start: Start, processes: Processes) -> Iterator[None]:
    """Nobody else trains into `out` meanwhile: FileError for them, and where a file of the run cannot be written.

    FileError naming the remedies, too, when a run may not begin like this; so nothing is loaded before. Of several
    processes the first alone writes.
    """
    if not processes.is_first:
        yield
        return
    with output_lock(*_files_of(out)):
        _check_start(out, start)
        yield


def _check_start(out: Path, start: Start) -> None:
    found = [path for path in (out, resume_path(out)) if path.exists()]
    if start == "new" and found:
        raise FileError(
            f"{found[0]} is there already: `resume` goes on with it, `set_aside` keeps it under another name, "
            "`overwrite` replaces it; or give another `out`"
        )
    if start == "resume" and found == [out]:
        raise FileError(
            f"{out} cannot go on, its resume state {resume_path(out).name} is not there: `set_aside` keeps it under "
            "another name, `overwrite` replaces it; or give another `out`"
        )


def begin(out: Path, start: Start, own: Checkpoint, restore: Callable[[Checkpoint, dict[str, Any]], None]) -> bool:
    """Whether the run goes on from the resume state of `out`; else what was there is set aside or may be replaced.

    own: what the run says of itself. restore: brings the state back, or raises MismatchError and changes nothing.
    Raises MismatchError or FormatError where a run that has to go on ("resume") cannot.
    """
    if start in ("resume", "auto") and resume_path(out).is_file():
        try:
            info, state = checkpoint.load_resume(out)
            person = own.config.get(checkpoint.PERSON, "")
            checkpoint.check_match(info, avatar=own.made_from, person=person, crop=own.crop, encoder=own.encoder)
            checkpoint.check_settings(info, own.config["options"], own.config["model"])
            restore(info, state)
        except (FormatError, MismatchError) as error:
            if start == "resume":
                raise
            _log.warning("%s begins anew: %s", out.name, error)
        else:
            return True
    if start in ("auto", "set aside"):
        set_aside(out)
    return False


def is_finished(out: Path, options: GeneratorOptions | SyncNetOptions, encoder: str) -> bool:
    """Whether `out` is all that a run of this avatar with these options makes: it would go on, with nothing left to do.

    Only what the files say of themselves is read, so it takes no time.
    """
    if not (out.is_file() and resume_path(out).is_file()):
        return False
    try:
        info = checkpoint.read_info(resume_path(out), "resume")
        spent_s = float(dict(info.config["layout"]["__items__"])["spent_s"])
        made_with = {**info.config["options"], "steps": options.steps, "minutes": options.minutes}
    except (FormatError, KeyError, TypeError, ValueError):
        return False  # damaged, or of another version: the run itself says so
    if (info.encoder, made_with) != (encoder, asdict(options)):
        return False
    return Schedule(options.steps, options.minutes, spent_s).done(info.step) >= 1


def set_aside(out: Path) -> None:
    """Rename what an earlier run left, if there is any, to a free name that ends in its date. Nothing is deleted.

    FileError, and nothing renamed, where that name is too long.
    """
    left = [path for path in (out, resume_path(out)) if path.is_file()]
    if not left:
        return
    when = time.strftime("%Y-%m-%d %H.%M.%S", time.localtime(max(path.stat().st_mtime for path in left)))
    kept = _free_name(out, when)
    for old, new in zip(_files_of(out), _files_of(kept), strict=True):
        if old.is_file():
            old.replace(new)
    _log.warning("%s: what was trained before is kept as %s", out.name, kept.name)


def _free_name(out: Path, when: str) -> Path:
    number = 1
    while True:
        ending = when if number == 1 else f"{when}, {number}"
        name = out.with_name(f"{out.stem} ({ending}){out.suffix}")
        for path in _files_of(name):
            check_name(path)
        if not any(path.exists() for path in _files_of(name)):
            return name
        number += 1


def _files_of(out: Path) -> list[Path]:
    """Everything a run leaves, whether it is there or not."""
    return [out, resume_path(out), *map(out.with_suffix, (".losses.json", ".preview.png", ".html"))]


@dataclass
class RunLog:
    """The reports of a run and of those it goes on from."""

    out: Path  # of the checkpoint
    reports: list[StepReport] = field(default_factory=list)  # without previews
    preview: np.ndarray | None = None  # (H, W, 3) uint8 RGB, the last one

    def follow(self, steps: Generator[Progress, None, None]) -> Generator[Progress, None, None]:
        """The same steps; those with losses or metrics are kept, and written down however the run ends.

        They are written after every validation of the networks that are saved, too: a run may be killed.
        """
        try:
            for step in steps:
                if isinstance(step, StepReport):
                    self._keep(step)
                    if step.metrics and step.stage != "motion":
                        self._write()
                yield step
        finally:
            steps.close()
            self._write()

    def _keep(self, report: StepReport) -> None:
        self.preview = report.preview if report.preview is not None else self.preview
        self.reports.append(replace(report, detail="", samples_per_s=0.0, preview=None))

    def losses(self) -> list[float]:
        """Of the last phase, in order."""
        last = self.reports[-1].stage if self.reports else ""
        values = [report.losses for report in self.reports if report.stage == last and report.losses]
        return [one.get("loss", next(iter(one.values()))) for one in values]

    def _write(self) -> None:
        losses, preview = _files_of(self.out)[2:4]
        rows = [[r.stage, r.step, r.done, r.losses, r.metrics] for r in self.reports]
        with atomic_write(losses) as temporary:
            temporary.write_text(json.dumps(rows), encoding="utf-8")
        if self.preview is None:
            preview.unlink(missing_ok=True)  # an earlier run's, whose place this one takes
        else:
            picture = cv2.imencode(".png", cv2.cvtColor(self.preview, cv2.COLOR_RGB2BGR))[1]
            with atomic_write(preview) as temporary:
                temporary.write_bytes(picture.tobytes())


def open_log(out: Path, step: int | None = None) -> RunLog:
    """What is written down about the run of checkpoint `out`, up to this step of the networks that count steps.

    FormatError when it is damaged.
    """
    losses, preview = _files_of(Path(out))[2:4]
    log = RunLog(Path(out))
    if losses.is_file():
        try:
            rows = json.loads(losses.read_text(encoding="utf-8"))
            reports = [
                StepReport(PHASES.get(str(stage), str(stage)), done, step=at, losses=losses_then, metrics=metrics)
                for stage, at, done, losses_then, metrics in rows
            ]
        except (ValueError, TypeError) as error:
            raise FormatError(f"{losses} is damaged; delete it, only the curves of past losses are in it") from error
        log.reports = [r for r in reports if step is None or r.stage == "motion" or r.step <= step]
    if preview.is_file():
        picture = cv2.imdecode(np.frombuffer(preview.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        log.preview = None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return log
