"""Commands for files of the published system: `udh import` and `udh render-published`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import FileError, OptionError
from ..files import without_links
from .console import console, run


def import_command(
    source: Annotated[Path, typer.Argument(help="A .pth, or a data folder (full_body_img, landmarks, aud.wav).")],
    out: Annotated[Path, typer.Option(help=".safetensors for a .pth; .mp4 for a data folder.")],
) -> None:
    from ..published.dataset import open_dataset, write_clip
    from ..published.model import import_model

    wanted = ".mp4" if source.is_dir() else ".safetensors"
    if out.suffix.lower() != wanted:
        raise FileError(f"{out}: {source} becomes a {wanted} file; give a name that ends so")
    if not source.is_dir():
        info = import_model(source, out)
        console.print(f"{out} is ready: a {info.encoder} model; use it with udh render-published", soft_wrap=True)
        return
    dataset = open_dataset(source)
    if without_links(out).is_relative_to(without_links(source)):
        raise FileError(f"{out} lies in the data folder; give another place")
    run(write_clip(dataset, out), "import: ")
    console.print(f"{out} is ready; make an avatar of it with udh prepare", soft_wrap=True)


def render_published_command(
    dataset: Annotated[Path, typer.Option(help="Data folder of Ultralight-Digital-Human.")],
    model: Annotated[Path, typer.Option(help="The model that udh import made of its .pth.")],
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    audio: Annotated[Path | None, typer.Option(help="What the person shall say; without it, the folder's own.")] = None,
    features: Annotated[Path | None, typer.Option(help="Its features, a .npy of the published tools.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Or what extracts them: hubert:FOLDER, wenet:FILE.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")] = "cpu",
) -> None:
    from ..published.dataset import extract_rows, load_rows, open_dataset
    from ..published.model import open_published
    from ..published.render import render_published

    if (audio is None and (features or encoder)) or (audio is not None and (features is None) == (encoder is None)):
        raise OptionError("with --audio give either --features or --encoder; without it, neither")
    opened, variant, driving = open_dataset(dataset), open_published(model)[1].variant, None
    if features is not None:
        driving = load_rows(features, variant)
    elif audio is not None and encoder is not None:
        driving = extract_rows(audio, variant, encoder, device=device)
    run(render_published(opened, model, out, audio=audio, driving=driving, device=device))
    console.print(f"{out} is ready", soft_wrap=True)
