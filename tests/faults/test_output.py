"""What is printed where the output is no terminal, or one that cannot show every character."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machine import Forks, Made

from udh_core.cli.console import console, list_steps
from udh_core.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
ODD = "头像 Ж ñ 😀"


@pytest.mark.parametrize("encoding", ["cp1251", "ascii", "cp437", "cp1252"])
def test_odd_characters_are_replaced(forks: Forks, clip: Path, made: Made, tmp_path: Path, encoding: str) -> None:
    root = shutil.copytree(made.avatar, tmp_path / ODD)
    command = ("prepare", clip, "--avatar", root, "--encoder", "mel80", "--crop-px", 96)
    ended = forks.udh(tmp_path / "log", *command, encoding=encoding)
    assert ended.code == 0, ended.text
    assert "75 frames of 192" in ended.text
    assert "?" in ended.text
    refused = forks.udh(tmp_path / "log", "prepare", tmp_path / f"{ODD}.mp4", "--avatar", root, encoding=encoding)
    assert (refused.code, len(refused.lines)) == (2, 1), refused.text


def test_the_environment_may_name_the_encoding(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "cp1251"}
    arguments = [sys.executable, "-m", "udh_core", "audit", tmp_path / "片.mp4", "--json", tmp_path / "没有" / "a"]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.decode("cp1251").startswith("error: cannot write a: there is no folder")


def test_setting_up_prints_anywhere() -> None:
    code = (
        "import dev, sys; sys.argv[1:] = ['udh']; dev.set_up = lambda _: print('making …'); dev.run = len; dev.main()"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout.strip() == b"making ?"


def test_names_are_no_markup(forks: Forks, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "x[" / "red] [bold] :cat:.mp4"
    out.parent.mkdir()
    both = ("--avatar", made.avatar, "--generator", made.generator)
    ended = forks.udh(tmp_path / "log", "render", *both, "--audio", made.speech, "--out", out)
    assert ended.code == 0, ended.text
    assert f"{out} is ready" in ended.text


# A file instead of a terminal


def test_every_stage_has_a_line(made: Made) -> None:
    said = [line.split("  ")[0] for line in made.ended["prepare"].text.splitlines() if "%" in line]
    assert said == ["video", "audio", "landmarks", "crops", "occlusion", "offset", "features"]
    said = [line.split("  ")[0] for line in made.ended["train"].text.splitlines() if "%" in line]
    assert [name for name in said if name in ("train: statistics", "train: motion", "train: warp")] == [
        "train: statistics",
        "train: motion",
        "train: warp",
    ]
    assert len(said) == len(set(said))


def test_the_room_that_crops_take_is_said(made: Made) -> None:
    assert "its crops take 2.1 MB" in made.ended["prepare"].text


def test_long_stages_have_a_line_every_minute(capsys: pytest.CaptureFixture[str]) -> None:
    def work():
        for k in range(10):
            time.sleep(0.02)
            yield Progress("warp", k, 10, f"step {k}")
        yield Progress("evaluate", 0)

    assert not console.is_terminal
    list_steps(work(), "train: ", every_s=0.05)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["train:", "warp", "0%", "step", "0"]
    assert lines[-1].split() == ["train:", "evaluate", "0%"]
    assert 3 <= len(lines) <= 6
    list_steps(work(), "", every_s=60)
    assert len(capsys.readouterr().out.splitlines()) == 2
