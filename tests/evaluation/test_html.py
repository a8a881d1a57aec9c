"""What an evaluation writes: verdicts, tables, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from udh_core.cli import app, report
from udh_core.errors import FileError, MediaError
from udh_core.evaluation import html
from udh_core.evaluation.figures import GROUPS, MEANINGS, cell, strict_json
from udh_core.evaluation.html import write_html
from udh_core.evaluation.pictures import draw_evaluation
from udh_core.evaluation.result import (
    GENERATED,
    OTHER,
    OTHER_PASTED,
    PASTED,
    REAL,
    ROWS,
    SILENCE_PREDICTED,
    VOICE,
    Evaluation,
)
from udh_core.evaluation.side_by_side import side_by_side
from udh_core.evaluation.tables import evaluation_tables, syncnet_table
from udh_core.evaluation.verdict import ANY_OFFSET, INKS, Limits, summary, verdicts
from udh_core.face.crop import CropSpec
from udh_core.inference.sync_scorer import OFFSETS, SyncReport
from udh_core.media.probe import picture_info, probe
from udh_core.models.checkpoint import Checkpoint
from udh_core.training.loop import StepReport

NASTY = "<script>alert('a')</script> & \"b\""
VOID = {"meta", "img", "source", "br"}
FRAMES, SIDE = 40, 32


def sync_report(dip: float) -> SyncReport:
    """Of ten windows whose distances dip by so much at offset 0."""
    curve = 1.4 - dip * np.exp(-0.5 * OFFSETS**2)
    return SyncReport.of(np.tile(curve, (10, 1)) + np.random.default_rng(0).normal(0, 0.01, (10, len(OFFSETS))))


@pytest.fixture
def evaluation() -> Evaluation:
    """A made-up one with every row and figure, of a good generator."""
    rng = np.random.default_rng(1)
    rows = {row: dict.fromkeys(MEANINGS, 1.0) for row in ROWS}
    rows[GENERATED] |= {"opening_correlation": 0.91, "lpips": 0.02, "colour_drift": 1.0, "closure_gap": 0.04}
    rows[PASTED] |= {"opening_correlation": 0.15, "lpips": 0.043, "closure_gap": 0.11}
    rows[OTHER] |= {"opening_correlation": 0.85, "source_correlation": 0.1, "lse_c": float("nan")}
    rows[OTHER_PASTED] |= {"source_correlation": 0.05}
    rows[SILENCE_PREDICTED] |= {"opening_std_ratio": 0.2}
    rows[REAL] |= {"psnr_db": 108.0}
    crops = rng.integers(0, 255, (FRAMES, SIDE, SIDE, 3), np.uint8)
    openings = {row: rng.random(FRAMES) for row in ROWS}
    sync = {GENERATED: sync_report(0.6), REAL: sync_report(0.8), PASTED: sync_report(0.0)}
    clip = {"crop_jitter": 0.001, "sound_shift": -2.5}
    frames = np.r_[100:120, 125:145]
    return Evaluation(rows, sync, clip, frames, 25.0, openings, crops, 255 - crops)


class Reader(HTMLParser):
    """Checks that every element is closed in order, and collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def test_page_needs_nothing_but_itself(evaluation, tmp_path):
    write_html(tmp_path / "p.html", "title", evaluation)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    sources = read(tmp_path / "p.html").values("src", "srcset", "poster", "href", "data")
    assert len(sources) >= 13  # 8 pairs, video and poster, two plots for two grounds
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|url\(|@import|<link|<script", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "p.html"]


def test_page_shows_every_figure_row_and_verdict(evaluation, tmp_path):
    steps = [StepReport.of("warp", k, k / 9, {"l1": 1.0, "lpips": 0.5}) for k in range(9)]
    info = Checkpoint("syncnet", {}, 7, "mel80", CropSpec(160), "x", {"auc": 0.93, "within1_10": 0.8})
    write_html(tmp_path / "p.html", "title", evaluation, steps=steps, syncnet=info)
    reader = read(tmp_path / "p.html")
    text = " ".join(reader.text)
    assert set(reader.values("data-figure")) == {*MEANINGS, "crop_jitter", "sound_shift"}
    assert all(row in text for row in ROWS)
    assert all(verdict.words in text for verdict in verdicts(evaluation))
    assert "0.93" in text
    assert "Training" in text
    assert "compare within this page only" in text


def test_text_is_escaped(evaluation, tmp_path):
    strange = dataclasses.replace(evaluation, rows={**evaluation.rows, GENERATED: {**evaluation.rows[GENERATED]}})
    strange.rows[GENERATED][NASTY] = 1.0
    write_html(tmp_path / "p.html", NASTY, strange)
    reader = read(tmp_path / "p.html")
    assert "".join(reader.text).count(NASTY) >= 3  # title, heading, name of the figure
    assert "<script" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_grades_have_one_colour(evaluation, tmp_path):
    write_html(tmp_path / "p.html", "title", evaluation)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert all(f"--{grade}: {ink};" in text for grade, ink in INKS.items())


def test_page_without_syncnet_and_other_voice(evaluation, tmp_path):
    rows = {name: figures for name, figures in evaluation.rows.items() if name != VOICE}
    write_html(tmp_path / "p.html", "title", dataclasses.replace(evaluation, sync={}, rows=rows))
    text = " ".join(read(tmp_path / "p.html").text)
    assert "The SyncNet" not in text
    assert "Another voice" not in text


def test_nothing_is_left_of_a_page_that_failed(evaluation, tmp_path, monkeypatch):
    (tmp_path / "p.html").write_text("before")

    def fail(**_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(html, "render_page", fail)
    with pytest.raises(OSError, match="disk full"):
        write_html(tmp_path / "p.html", "title", evaluation)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
    with pytest.raises(FileError):
        write_html(tmp_path / "none" / "p.html", "title", evaluation)


def test_video_has_every_frame_and_its_audio(evaluation, tmp_path, speech):
    """The frames lie at 4.0 to 5.8 s, the audio there is late; two seconds of speech are over by then."""
    (tmp_path / "quiet.mp4").write_bytes(side_by_side(evaluation, None))
    info = picture_info(tmp_path / "quiet.mp4")
    assert (info.frame_count, info.width, info.height) == (FRAMES, 2 * SIDE, SIDE)
    early = dataclasses.replace(evaluation, frames=evaluation.frames - 98)
    (tmp_path / "audible.mp4").write_bytes(side_by_side(early, speech))
    found = probe(tmp_path / "audible.mp4")
    assert found.has_audio
    assert abs(found.duration_s - FRAMES / 25) < 0.1
    (tmp_path / "over.mp4").write_bytes(side_by_side(evaluation, speech))
    assert not probe(tmp_path / "over.mp4").has_audio


def test_video_is_made_smaller_where_it_would_be_large(evaluation):
    whole = len(side_by_side(evaluation, None))
    assert len(side_by_side(evaluation, None, limit=whole // 2)) < whole / 2


def test_plots_are_pictures(evaluation, tmp_path):
    write_html(tmp_path / "p.html", "title", evaluation)
    drawn = [value for value in read(tmp_path / "p.html").values("src", "srcset") if value.startswith("data:image/svg")]
    assert len(drawn) == 4
    assert all(b"</svg>" in base64.b64decode(value.split(",")[1]) for value in drawn)
    assert len(set(drawn)) == 4  # light and dark differ


def test_picture_of_an_evaluation(evaluation):
    picture = draw_evaluation("title", evaluation)
    assert picture.dtype == np.uint8
    assert picture.shape == (1300, 1400, 3)
    assert picture.std() > 10


# Verdicts and tables


@pytest.mark.parametrize(
    ("limits", "grades"), [(Limits(0.8, 0.6), "poor fair good"), (Limits(0.2, 0.7, higher=False), "good fair poor")]
)
def test_limits(limits, grades):
    assert [limits.grade(value) for value in (0.1, 0.65, 0.9)] == grades.split()


def test_verdicts_of_a_good_one(evaluation):
    found = {verdict.words: verdict for verdict in verdicts(evaluation)}
    assert found["The mouth follows the audio: 0.91 (another frame pasted: 0.15, real: 1)"].grade == "good"
    assert found["The clip's audio is 2.5 frames (100 ms) early; training and evaluation correct that"].grade == "fair"
    assert [words for words, verdict in found.items() if verdict.grade == "poor"] == [
        "40 frames (1.6 s) that were never trained on: too few for reliable figures"
    ]
    assert summary(list(found.values())) == f"{len(found) - 2} good, 1 fair, 1 poor"
    assert all("good" in v.rule and "fair" in v.rule for v in found.values() if v.rule != ANY_OFFSET)


BAD = {
    "hardly follows": (GENERATED, "opening_correlation", 0.2),
    "does not drive it": (OTHER, "opening_correlation", 0.1),
    "copies the mouth": (OTHER, "source_correlation", 0.9),
    "moves less than the real one": (GENERATED, "opening_std_ratio", 0.1),
    "hardly drives it": (VOICE, "opening_std_ratio", 0.1),
    "does not rest": (SILENCE_PREDICTED, "opening_std_ratio", 0.9),
    "do not close": (GENERATED, "closure_gap", 0.5),
    "far from the true one": (GENERATED, "lpips", 0.05),
    "much softer": (GENERATED, "sharpness_ratio", 0.1),
    "A seam shows": (GENERATED, "seam_ratio", 1.5),
    "mouth flickers": (GENERATED, "skin_jitter_ratio", 3.0),
    "colour drifts": (GENERATED, "colour_drift", 9.0),
}


@pytest.mark.parametrize("words", BAD)
def test_verdicts_of_a_bad_one(evaluation, words):
    row, name, value = BAD[words]
    evaluation.rows[row][name] = value
    (found,) = [verdict for verdict in verdicts(evaluation) if words in verdict.words]
    assert found.grade == "poor"
    assert found.remedy in found.line()


def only(evaluation: Evaluation, words: str) -> str:
    """The grade of the one verdict that says this."""
    (grade,) = [verdict.grade for verdict in verdicts(evaluation) if words in verdict.words]
    return grade


def test_verdicts_of_bad_sync(evaluation):
    bad = dataclasses.replace(evaluation, sync={GENERATED: sync_report(0.0), REAL: sync_report(0.8)})
    assert only(bad, "out of sync") == "poor"
    blind = dataclasses.replace(evaluation, sync={GENERATED: sync_report(0.0), REAL: sync_report(0.0)})
    assert only(blind, "cannot tell in-sync from off-sync") == "poor"
    assert not any("By the SyncNet" in verdict.words for verdict in verdicts(blind))


def test_silence_is_not_judged_where_the_mouth_never_moves(evaluation):
    assert only(evaluation, "the mouth rests") == "good"
    evaluation.rows[GENERATED]["opening_std_ratio"] = 0.2
    assert not any("In silence" in verdict.words for verdict in verdicts(evaluation))


def test_cells():
    assert cell("psnr_db", 108.1) == "equal"
    assert cell("psnr_db", 29.37) == "29.4"
    assert cell("sync_offset", 3.0) == "+3"
    assert cell("opening_correlation", -0.001) == "0.00"
    assert cell("lpips", None) == cell("lpips", float("nan")) == "–"
    assert cell("something_new", 0.12345) == "0.123"


def test_json_is_strict(evaluation):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(strict_json(evaluation.to_dict()), parse_constant=refuse)
    assert found["rows"][OTHER]["lse_c"] is None
    assert found["rows"][GENERATED]["opening_correlation"] == 0.91
    assert len([name for name in found["sync"][REAL] if name.startswith("distance_")]) == 31
    assert json.loads(strict_json({"a": np.float32(0.5), "b": np.array([1.0, np.inf])})) == {"a": 0.5, "b": [1.0, None]}


def test_tables_fit_a_terminal(evaluation):
    console = Console(width=80, record=True)
    for part in evaluation_tables(evaluation):
        console.print(part)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    tops = [number for number, line in enumerate(lines) if line.startswith(tuple(group.title for group in GROUPS))]
    assert len(tops) == len(GROUPS)
    for what in MEANINGS.values():
        assert any(line.strip().startswith(what.name) for line in lines), what.name
    (line,) = [line for line in lines[: tops[1]] if line.strip().startswith("mouth follows")]
    assert line.split()[-4:] == ["0.91", "1.00", "0.15", "1.00"]


# The command line


def udh(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluate_writes_the_page_and_the_figures(person_avatar, generator_file, speech, tmp_path):
    (tmp_path / "words.tsv").write_text("start_s\tend_s\tword\n5.6\t5.8\tbin\n")
    options = ["--voice", speech, "--words", tmp_path / "words.tsv"]
    options += ["--html", tmp_path / "p.html", "--json", tmp_path / "f.json"]
    printed = udh("evaluate", "--avatar", person_avatar, "--generator", generator_file, *options)
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert "closure_gap" in rows[GENERATED]
    assert VOICE in rows
    assert "p.html" in printed
    assert "Cross-driving" in printed
    (video,) = [v for v in read(tmp_path / "p.html").values("src") if v.startswith("data:video/mp4")]
    (tmp_path / "v.mp4").write_bytes(base64.b64decode(video.split(",")[1]))
    assert probe(tmp_path / "v.mp4").has_audio


def test_unwritable_page_is_an_error_before_the_work(person_avatar, tmp_path):
    common = ["evaluate", "--avatar", person_avatar, "--generator", tmp_path / "none.safetensors"]
    result = CliRunner().invoke(app, list(map(str, [*common, "--html", tmp_path / "no" / "p.html"])))
    assert result.exit_code == 2
    assert "no folder" in result.output


TINY = ("--encoder", "mel80", "--steps", 2, "--motion-steps", 1, "--model-size", "small")


def test_training_ends_with_a_report(person_avatar, tmp_path):
    printed = udh("train", "--avatar", person_avatar, *TINY, "--out", tmp_path / "g.safetensors")
    assert "Reconstruction" in printed
    assert "Training" in " ".join(read(tmp_path / "g.html").text)


def test_a_report_that_fails_or_is_not_wanted_costs_no_training(person_avatar, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise MediaError("the report went wrong")

    monkeypatch.setattr(report, "evaluate", fail)
    common = ["train", "--avatar", person_avatar, *TINY, "--out", tmp_path / "g.safetensors"]
    assert "no report: the report went wrong" in udh(*common)
    assert (tmp_path / "g.safetensors").is_file()
    assert "no report" not in udh(*common, "--resume", "--no-report")
    assert not (tmp_path / "g.html").exists()


def test_syncnet_of_several_people_and_from_another(person_avatar, tmp_path):
    common = ["train-syncnet", "--encoder", "mel80", "--steps", 2, "--avatar", person_avatar]
    printed = udh(*common, "--avatar", person_avatar, "--out", tmp_path / "u.safetensors")
    assert "AUC" in printed
    printed = udh(*common, "--out", tmp_path / "i.safetensors", "--init", tmp_path / "u.safetensors", "--seed", 5)
    assert "offset within ±1 frame" in printed
    result = CliRunner().invoke(app, list(map(str, [*common, "--out", tmp_path / "x.safetensors", "--init", "none"])))
    assert result.exit_code == 2


def test_syncnet_table():
    console = Console(width=80, record=True)
    console.print(syncnet_table({"auc": 0.951, "within1_10": 0.9, "windows": 465, "distance_0": 0.4}))
    text = console.export_text()
    assert "0.95" in text
    assert "465" in text
    assert "distance" not in text
