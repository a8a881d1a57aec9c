"""The page of an evaluation: one HTML file with verdicts, the video, plots and tables, and nothing from outside."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..audio import load_sound, write_wave
from ..checkpoint import Checkpoint
from ..errors import MediaError
from ..evaluate import GENERATED, Evaluation
from ..files import replacing
from ..training import StepReport
from ..video import VideoWriter
from . import figures, plots
from .figures import GROUPS, THIS_SYNCNET, Group, meaning
from .pictures import draw_training
from .stationery import document, section
from .verdict import MARKS, Verdict, summary, verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_VIDEO_BYTES = 4_500_000  # 6 MB once it is written as text
QUALITIES = ((20, 1.0), (26, 1.0), (30, 0.5), (38, 0.5))  # crf and scale, tried until the video is small enough
PLOT_SIZE = (11, 3.2)  # inches
PICTURES = 8


def write_html(
    path: Path,
    title: str,
    evaluation: Evaluation,
    *,
    steps: Sequence[StepReport] = (),
    syncnet: Checkpoint | None = None,
    sound: Path | None = None,
) -> None:
    """Write the page, whole or not at all.

    `steps` of the training add its losses, `syncnet` its own held-out figures, `sound` (the clip's, on the clock of its
    frames) is heard with the video.
    """
    found = verdicts(evaluation)
    sections = [
        section("In words", _verdict_list(found)),
        section("Original and generated", *_pictures(evaluation, sound)),
        section("The mouth over time", _plot(partial(plots.draw_openings, evaluation=evaluation), _about_openings())),
        *[section(escape(group.title), *_table(group, evaluation)) for group in GROUPS],
        section("The clip", _clip(evaluation)),
    ]
    if evaluation.sync:
        sections.append(section("SyncNet", *_sync(evaluation, syncnet)))
    if steps:
        sections.append(section("Training", _losses(steps)))
    sections.append(_raw(evaluation))
    seconds = len(evaluation.frames) / evaluation.fps
    facts = f"{len(evaluation.frames)} held-out frames ({seconds:.1f} s), {evaluation.fps:g} fps: {summary(found)}"
    with replacing(path) as temporary:
        temporary.write_text(document(escape(title), escape(facts), sections), encoding="utf-8")


# Words and numbers


def _verdict_list(found: list[Verdict]) -> str:
    lines = []
    for verdict in found:
        remedy = f"{_capital(verdict.remedy)}. " if verdict.grade != "good" and verdict.remedy else ""
        lines.append(
            f'<li class="{verdict.grade}"><b>{MARKS[verdict.grade]} {verdict.grade}</b> '
            f"<span>{escape(verdict.words)}</span><small>{escape(remedy + _capital(verdict.rule))}</small></li>"
        )
    return f'<ul class="verdicts">\n{chr(10).join(lines)}\n</ul>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(group: Group, evaluation: Evaluation) -> list[str]:
    """One line per figure, one column per row of the evaluation."""
    shown = figures.columns(group, evaluation)
    heads = "".join(f'<th scope="col">{escape(c.heading)}<small>{c.part or "&nbsp;"}</small></th>' for c in shown)
    lines = []
    for name in figures.figure_names(group, evaluation):
        cells = "".join(_cell(name, evaluation.rows[c.row].get(name), main=not c.part) for c in shown)
        lines.append(f"<tr>{_line_head(name)}{cells}</tr>")
    words = "".join(f"<dt>{escape(c.row)}</dt><dd>{escape(c.words)}</dd>" for c in shown)
    head = f'<thead><tr><th scope="col">figure</th>{heads}</tr></thead>'
    body = "\n".join(lines)
    return [
        f"<p>{escape(group.words)}</p>",
        f'<div class="wide"><table>{head}\n<tbody>\n{body}\n</tbody></table></div>',
        f"<dl>{words}</dl>",
    ]


def _line_head(name: str) -> str:
    what = meaning(name)
    unit = f", {what.unit}" if what.unit else ""
    better = {"higher": "higher is better", "lower": "lower is better", "1": "1 is best", "0": "0 is best", "": ""}
    direction = f" {better[what.better].capitalize()}." if what.better else ""
    arrow = figures.ARROWS[what.better].replace(" ", "&nbsp;")
    words = f"{what.words}{direction}".strip()
    title = f"{escape(what.name)}<span>{escape(unit)}&nbsp;{arrow}</span>"
    return f'<th scope="row" data-figure="{escape(name)}">{title}<small><span>{escape(words)}</span></small></th>'


def _cell(name: str, value: float | None, main: bool) -> str:
    return f"<td{' class=main' if main else ''}>{figures.cell(name, value)}</td>"


def _clip(evaluation: Evaluation) -> str:
    lines = [f"<tr>{_line_head(name)}{_cell(name, value, main=True)}</tr>" for name, value in evaluation.clip.items()]
    return f'<div class="wide"><table><tbody>\n{chr(10).join(lines)}\n</tbody></table></div>'


def _raw(evaluation: Evaluation) -> str:
    text = escape(figures.strict_json(evaluation.to_dict()))
    return f"<details><summary>All figures as JSON</summary><pre>{text}</pre></details>"


# Pictures


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _encoded(picture: np.ndarray, kind: str) -> str:
    """(H, W, 3) uint8 as a data URI."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, 90] if kind == "jpeg" else []
    encoded = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)[1]
    return _data_uri(f"image/{kind}", encoded.tobytes())


def _image(picture: np.ndarray, alt: str, kind: str = "jpeg", style: str = "") -> str:
    height, width = picture.shape[:2]
    size = f'width="{width}" height="{height}"'
    return f'<img class="{style}" src="{_encoded(picture, kind)}" {size} alt="{escape(alt)}">'


def _plot(draw: Callable[[Axes, plots.Ink], None], alt: str, size: tuple[float, float] = PLOT_SIZE) -> str:
    """A drawing that suits a light ground and a dark one, and the words below it."""
    light, dark = (_data_uri("image/svg+xml", plots.svg(draw, ink, size)) for ink in (plots.LIGHT, plots.DARK))
    source = f'<source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
    picture = f'<picture>{source}<img src="{light}" alt="{escape(alt)}"></picture>'
    return f"<figure>{picture}<figcaption>{escape(alt)}</figcaption></figure>"


def _about_openings() -> str:
    return (
        f"Gap of the inner lips: the real mouth and the one driven by the same sound, the first {plots.SHOWN_S} "
        "seconds of the held-out part. The two should rise and fall together; where both lie low, the lips are shut."
    )


def _pictures(evaluation: Evaluation, sound: Path | None) -> list[str]:
    pairs = plots.contact_sheet(evaluation.pictures(PICTURES))
    sheet = "".join(
        f"<figure>{_image(pair, f'real above, generated below, picture {k}')}</figure>"
        for k, pair in enumerate(pairs, 1)
    )
    uri = _data_uri("video/mp4", side_by_side(evaluation, sound))
    poster = _encoded(np.concatenate([evaluation.real[0], evaluation.generated[0]], axis=1), "jpeg")
    heard = "with the clip's own sound" if sound is not None else "without sound"
    return [
        f'<figure class="video"><video controls loop preload="metadata" poster="{poster}" src="{uri}"></video>',
        '<div class="halves soft"><span>original</span><span>generated</span></div>',
        f"<figcaption>The held-out frames, {heard}; the network heard the sound and never saw these mouths."
        "</figcaption></figure>",
        f'<div class="sheet">{sheet}</div>',
        '<p class="soft">Above the original, below what was generated. Half of them are taken where the mouth is wide '
        "open.</p>",
    ]


def side_by_side(evaluation: Evaluation, sound: Path | None, limit: int = MAX_VIDEO_BYTES) -> bytes:
    """An mp4 of the held-out crops, original | generated, with their sound; smaller pictures where it would be large.

    The last try is taken whatever its size.
    """
    content = b""
    with tempfile.TemporaryDirectory() as folder:
        wave = None if sound is None else _cut_sound(evaluation, sound, Path(folder) / "sound.wav")
        for crf, scale in QUALITIES:
            out = Path(folder) / f"{crf}.mp4"
            _encode(evaluation, out, wave, crf, scale)
            content = out.read_bytes()
            if len(content) <= limit:
                break
    return content


def _encode(evaluation: Evaluation, out: Path, wave: Path | None, crf: int, scale: float) -> None:
    side = round(evaluation.real.shape[1] * scale / 2) * 2
    fps = Fraction(evaluation.fps).limit_denominator(1001)
    with VideoWriter(out, width=2 * side, height=side, fps=fps, audio=wave, crf=crf, encoder="x264") as writer:
        for pair in zip(evaluation.real, evaluation.generated, strict=True):
            frame = np.concatenate(pair, axis=1)
            if frame.shape[0] != side:
                frame = cv2.resize(frame, (2 * side, side), interpolation=cv2.INTER_AREA)
            writer.write(frame)


def _cut_sound(evaluation: Evaluation, sound: Path, out: Path) -> Path | None:
    """What is heard during the held-out frames, one after the other; None where the sound has ended by then."""
    frames, shift = evaluation.frames, evaluation.clip.get("sound_shift", 0.0)
    start_s = max(0.0, (int(frames[0]) + shift) / evaluation.fps)
    try:
        samples, rate_hz = load_sound(sound, start_s=start_s, duration_s=(frames[-1] + 2 - frames[0]) / evaluation.fps)
    except MediaError:
        return None
    edges = np.rint(((frames[:, None] + [0, 1] + shift) / evaluation.fps - start_s) * rate_hz).astype(int)
    padded = np.pad(samples, ((0, max(0, int(edges.max()) - len(samples))), (0, 0)))
    write_wave(out, np.concatenate([padded[max(0, first) : last] for first, last in edges]), rate_hz)
    return out


def _sync(evaluation: Evaluation, syncnet: Checkpoint | None) -> list[str]:
    about = (
        "How far mouth and sound lie apart for the SyncNet when the sound is shifted. A mouth that follows its sound "
        "has a sharp dip at 0; one that belongs to another moment has none."
    )
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in SYNC_HEADS)
    lines = []
    for name, report in evaluation.sync.items():
        values = (f"{report.windows}", f"{report.auc:.2f}", f"{report.within1_1:.0%}", f"{report.within1_10:.0%}")
        values += (figures.cell("sync_offset", report.offset), f"{report.lse_c:.2f}", f"{report.lse_d:.2f}")
        main = " class=main" if name == GENERATED else ""
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td{main}>{v}</td>" for v in values)}</tr>')
    return [
        _plot(partial(plots.draw_offsets, evaluation=evaluation), about),
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>',
        f"<p>AUC: in-sync against off-sync, 0.5 = chance. Offset within ±1 frame: chance is 10 %. LSE-C and LSE-D: "
        f"{escape(THIS_SYNCNET[0].lower() + THIS_SYNCNET[1:])}</p>",
        _own_figures(syncnet),
    ]


SYNC_HEADS = ("mouths", "windows", "AUC", "±1 frame, one window", "±1 frame, ten windows", "offset", "LSE-C", "LSE-D")


def _own_figures(syncnet: Checkpoint | None) -> str:
    """What the SyncNet reached on what it was trained on."""
    if syncnet is None or "auc" not in syncnet.metrics:
        return ""
    found = syncnet.metrics
    words = (
        f"On the held-out part of its own training data this SyncNet (step {syncnet.step}, {syncnet.encoder}) reached "
    )
    words += f"AUC {found['auc']:.2f} and, over ten windows, the right offset ±1 in {found.get('within1_10', 0):.0%}."
    return f'<p class="soft">{escape(words)}</p>'


def _losses(steps: Sequence[StepReport]) -> str:
    picture = _image(draw_training(steps), "Losses over the updates", "png", "plain")
    return f"<figure>{picture}<figcaption>Losses over the updates of this run.</figcaption></figure>"
