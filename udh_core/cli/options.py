"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

from ..avatar.options import PrepareOptions
from ..batch.jobs import DEVICE
from ..batch.work import check_device
from ..errors import OptionError
from ..options import described, range_of


def quoted(options: type, name: str, *flags: str) -> OptionInfo:
    """A command line option that says what the dataclass says: help and range; `flags` are its names.

    The range is checked by the dataclass, in one line like every other fault of the input.
    """
    said = described(options, name)
    limits = "" if said.least is None and said.most is None else f" Range: {range_of(said)}."
    return typer.Option(*flags, help=said.help + limits)


AvatarDir = Annotated[Path, typer.Option("--avatar", help="Folder of the prepared avatar.")]


def usable_device(name: str) -> str:
    """The device's name; a usage error when torch cannot compute there."""
    try:
        check_device(name)
    except OptionError as error:
        raise typer.BadParameter(str(error)) from error
    return name


Device = Annotated[str, typer.Option(help=DEVICE, callback=usable_device)]
Encoder = Annotated[str, quoted(PrepareOptions, "encoder")]


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the resume state beside the file.")]
SetAside = Annotated[
    bool, typer.Option("--set-aside", help="Keep what is there already under another name and train anew.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
