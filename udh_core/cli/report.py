"""How a training and an evaluation end on the terminal: tables, verdicts, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..avatar.folder import Avatar
from ..errors import UdhError
from ..evaluation.evaluate import evaluate
from ..evaluation.html import write_html
from ..evaluation.result import Evaluation
from ..evaluation.tables import evaluation_tables
from ..inference.sync_scorer import SyncScorer
from ..progress import Job
from ..training.loop import StepReport
from .console import console, errors, run


def report_training(
    avatar: Avatar, generator: Path, syncnet: SyncScorer | None, steps: Sequence[StepReport], device: str
) -> None:
    """Evaluate what was trained; the page goes beside the checkpoint.

    The checkpoint is safe on disk by now: a report that fails is a warning.
    """
    try:
        result = run_evaluation(evaluate(avatar, generator, syncnet=syncnet, device=device))
        write_page(generator.with_suffix(".html"), generator, avatar, result, syncnet, steps)
    except (UdhError, OSError, RuntimeError, ValueError) as error:
        errors.print(f"warning: no report: {error}", style="yellow", soft_wrap=True)


def run_evaluation(job: Job[Evaluation]) -> Evaluation:
    """Pull an evaluation to its end and print what it found."""
    result = run(job, "evaluate: ")
    print_evaluation(result)
    return result


def print_evaluation(result: Evaluation) -> None:
    """The tables and the verdicts."""
    for part in evaluation_tables(result):
        console.print(part)


def write_page(
    path: Path,
    generator: Path,
    avatar: Avatar,
    result: Evaluation,
    syncnet: SyncScorer | None,
    steps: Sequence[StepReport] = (),
) -> None:
    """Write the page and say where."""
    info = syncnet.info if syncnet is not None else None
    title = f"{generator.stem}: evaluation of {avatar.root.resolve().name}"
    write_html(path, title, result, steps=steps, syncnet=info, sound=avatar.audio)
    console.print(f"report: {path}", soft_wrap=True)
