"""The page of an evaluation: one HTML file with verdicts, the video, plots and tables, and nothing from outside.

Its text lies in page.html.j2, its style in page.css; here is what they show.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..files import atomic_write
from ..inference.sync_scorer import SyncReport
from ..media.raster import encode_picture
from ..models.checkpoint import Checkpoint
from ..training.loop import StepReport
from . import figures, plots
from .figures import GROUPS, Better, Column, Group, Meaning, meaning
from .pictures import draw_training
from .result import GENERATED, Evaluation
from .side_by_side import side_by_side
from .verdict import MARKS, summary, verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_SIZE = (11, 3.2)  # inches
PICTURES = 8
DIRECTIONS: dict[Better, str] = {
    "higher": "Higher is better.",
    "lower": "Lower is better.",
    "1": "1 is best.",
    "0": "0 is best.",
    "": "",
}


class Image(NamedTuple):
    """A picture inside the page."""

    uri: str
    width: int
    height: int


class Plot(NamedTuple):
    """A drawing inside the page, as data URIs for a light ground and a dark one."""

    light: str
    dark: str


class Line(NamedTuple):
    """One figure of a table, and its values as text, one per column."""

    name: str
    meaning: Meaning
    cells: list[str]


class Table(NamedTuple):
    """One line per figure, one column per row of the evaluation."""

    group: Group
    columns: list[Column]
    lines: list[Line]


def write_html(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    *,
    steps: Sequence[StepReport] = (),
    syncnet: Checkpoint | None = None,
    sound: Path | None = None,
) -> None:
    """Write the page, whole or not at all.

    `steps` of the training add its losses, `syncnet` its own held-out metrics, `sound` (the clip's audio, on the clock
    of its frames) goes into the video. FileError when the page cannot be written.
    """
    shown = _words(evaluation) | _pictures(evaluation, steps, sound)
    with atomic_write(Path(path)) as temporary:
        page = render_page(title=title, syncnet=syncnet, **shown)
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a file's name may be no text


def render_page(**shown: Any) -> str:  # noqa: ANN401 - whatever the template names
    """page.html.j2 filled in; everything is escaped, and nothing that the template names may be missing."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template("page.html.j2").render(shown).lstrip()


def _words(evaluation: Evaluation) -> dict[str, object]:
    found = verdicts(evaluation)
    return {
        "frames": len(evaluation.frames),
        "fps": evaluation.fps,
        "summary": summary(found),
        "verdicts": found,
        "marks": MARKS,
        "arrows": figures.ARROWS,
        "directions": DIRECTIONS,
        "tables": [_table(group, evaluation) for group in GROUPS],
        "clip": [_line(name, [value]) for name, value in evaluation.clip.items()],
        "sync": {row: _sync_cells(report) for row, report in evaluation.sync.items()},
        "generated": GENERATED,
        "json": figures.strict_json(evaluation.to_dict()),
    }


def _pictures(evaluation: Evaluation, steps: Sequence[StepReport], sound: Path | None) -> dict[str, object]:
    first = np.concatenate([evaluation.real[0], evaluation.generated[0]], axis=1)
    return {
        "video": _data_uri("video/mp4", side_by_side(evaluation, sound)),
        "has_sound": sound is not None,
        "poster": _image(first),
        "pairs": [_image(pair) for pair in plots.contact_sheet(evaluation.pictures(PICTURES))],
        "openings": _plot(partial(plots.draw_openings, evaluation=evaluation)),
        "shown_s": plots.SHOWN_S,
        "offsets": _plot(partial(plots.draw_offsets, evaluation=evaluation)) if evaluation.sync else None,
        "losses": _image(draw_training(steps), "png") if steps else None,
    }


def _table(group: Group, evaluation: Evaluation) -> Table:
    columns = figures.columns(group, evaluation)
    rows = [evaluation.rows[column.row] for column in columns]
    names = figures.figure_names(group, evaluation)
    return Table(group, columns, [_line(name, [row.get(name) for row in rows]) for name in names])


def _line(name: str, values: Iterable[float | None]) -> Line:
    return Line(name, meaning(name), [figures.cell(name, value) for value in values])


def _sync_cells(report: SyncReport) -> list[str]:
    return [
        str(report.windows),
        f"{report.auc:.2f}",
        f"{report.within1_1:.0%}",
        f"{report.within1_10:.0%}",
        figures.cell("sync_offset", report.offset),
        f"{report.lse_c:.2f}",
        f"{report.lse_d:.2f}",
    ]


def _image(picture: np.ndarray, kind: Literal["png", "jpeg"] = "jpeg") -> Image:
    """(H, W, 3) uint8."""
    height, width = picture.shape[:2]
    return Image(_data_uri(f"image/{kind}", encode_picture(picture, kind)), width, height)


def _plot(draw: Callable[[Axes, plots.Ink], None]) -> Plot:
    light, dark = plots.svg(draw, plots.LIGHT, PLOT_SIZE), plots.svg(draw, plots.DARK, PLOT_SIZE)
    return Plot(_data_uri("image/svg+xml", light), _data_uri("image/svg+xml", dark))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
