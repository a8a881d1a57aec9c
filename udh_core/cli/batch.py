"""The command `udh batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..batch.jobs import BatchOptions, Engine
from .console import console, errors, on_one_line, run
from .options import quoted


def batch_command(
    jobs: Annotated[Path, typer.Argument(help="A JSON object in each line: a job.")],
    workers: Annotated[int | None, quoted(BatchOptions, "workers")] = None,
    retries: Annotated[int, quoted(BatchOptions, "retries")] = BatchOptions.retries,
    engine: Annotated[Engine, quoted(BatchOptions, "engine")] = BatchOptions.engine,
    address: Annotated[str | None, quoted(BatchOptions, "address")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where one line for each job goes; jobs.results.jsonl if not given.")
    ] = None,
) -> None:
    from ..batch.run import run_batch

    summary = run(run_batch(jobs, BatchOptions(workers, retries, engine, address), results=results))
    for failed in summary.failed:
        errors.print(on_one_line(f"{jobs}, line {failed['line']}: {failed['error']}"), style="red", soft_wrap=True)
    earlier = f", {summary.earlier} were done before" if summary.earlier else ""
    console.print(f"{summary.done} jobs done, {len(summary.failed)} failed{earlier}", soft_wrap=True)
    if summary.failed:
        raise typer.Exit(2 if summary.faults == {"input"} else 1)
