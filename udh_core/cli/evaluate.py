"""The command `udh evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import atomic_write, check_apart, output_lock
from .options import AvatarDir, Device


def evaluate_command(
    avatar: AvatarDir,
    generator: Annotated[Path, typer.Option(help="The trained generator.")],
    syncnet: Annotated[Path | None, typer.Option(help="A SyncNet, to measure lip-sync.")] = None,
    voice: Annotated[Path | None, typer.Option(help="Speech of somebody else, to drive the mouth with, too.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="Table of the clip's words (start_s, end_s, word; tabs): do the lips close?")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page here: words, video, plots and tables.")] = None,
    device: Device = "cpu",
) -> None:
    from ..avatar.folder import open_avatar
    from ..evaluation.evaluate import evaluate
    from ..evaluation.figures import strict_json
    from ..inference.sync_scorer import open_syncnet
    from .report import run_evaluation, write_page

    outputs = [path for path in (json_out, html) if path is not None]
    check_apart(outputs, [path for path in (generator, syncnet, voice, words) if path is not None])
    with output_lock(*outputs):
        scorer = open_syncnet(syncnet, device) if syncnet else None
        opened = open_avatar(avatar)
        result = run_evaluation(evaluate(opened, generator, syncnet=scorer, voice=voice, words=words, device=device))
        if json_out is not None:
            with atomic_write(json_out) as temporary:
                temporary.write_text(strict_json(result.to_dict()), encoding="utf-8")
        if html is not None:
            write_page(html, generator, opened, result, scorer)
