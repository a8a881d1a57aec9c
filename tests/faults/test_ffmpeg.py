"""ffmpeg that is not there, cannot be run, or is killed while it works."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from machine import Forks, Made, leftovers

from udh_core.media.ffmpeg import ffmpeg_path

SHIM = """#!/bin/sh
case "$*" in
    *-progress*) kill -9 $$ ;;
    *pipe:0*) head -c 331776 | {real} "$@"; kill -9 $$ ;;
esac
exec {real} "$@"
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """An ffmpeg that dies at once where it converts a file, and after three frames where it encodes ours."""
    path = tmp_path / "ffmpeg"
    path.write_text(SHIM.format(real=ffmpeg_path()), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def refused(forks: Forks, ffmpeg: Path, folder: Path, *arguments: object) -> str:
    ended = forks.udh(folder / "log", *arguments, environment={"IMAGEIO_FFMPEG_EXE": str(ffmpeg)})
    assert (ended.code, len(ended.lines)) == (2, 1), ended.text
    return ended.lines[0]


@pytest.mark.parametrize("name", ["none", "a folder", "no program"])
def test_missing(forks: Forks, clip: Path, made: Made, tmp_path: Path, name: str) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "no program").write_bytes(b"\0\1")
    ffmpeg, both = tmp_path / name, ("--avatar", made.avatar, "--generator", made.generator)
    commands = (
        ("prepare", clip, "--avatar", tmp_path / "avatar", "--encoder", "mel80"),
        ("render", *both, "--audio", made.speech, "--out", tmp_path / "talk.mp4"),
    )
    for command in commands:
        line = refused(forks, ffmpeg, tmp_path, *command)
        assert f"cannot run {ffmpeg}" in line
        assert "reinstall imageio-ffmpeg" in line
    assert not leftovers(tmp_path)
    assert not (tmp_path / "talk.mp4").exists()


def test_killed_while_it_imports(forks: Forks, clip: Path, killed: Path, tmp_path: Path) -> None:
    command = ("prepare", clip, "--avatar", tmp_path / "avatar", "--encoder", "mel80", "--crop-px", 96)
    line = refused(forks, killed, tmp_path, *command)
    assert f"{clip} cannot be imported: ffmpeg was ended by SIGKILL" in line
    assert not leftovers(tmp_path)
    assert forks.udh(tmp_path / "log", *command).code == 0


def test_a_crash_is_none_of_other_programs(forks: Forks, clip: Path, killed: Path, tmp_path: Path) -> None:
    killed.write_text(killed.read_text(encoding="utf-8").replace("kill -9", "kill -SEGV"), encoding="utf-8")
    line = refused(forks, killed, tmp_path, "prepare", clip, "--avatar", tmp_path / "avatar", "--encoder", "mel80")
    assert line.endswith("ffmpeg was ended by SIGSEGV, update imageio-ffmpeg with pip")


def test_killed_while_it_encodes(forks: Forks, made: Made, killed: Path, tmp_path: Path) -> None:
    out = tmp_path / "talk.mp4"
    out.write_bytes(b"from before")
    command = ("render", "--avatar", made.avatar, "--generator", made.generator, "--audio", made.speech, "--out", out)
    line = refused(forks, killed, tmp_path, *command)
    assert "talk.mp4" in line
    assert "ffmpeg was ended by SIGKILL" in line
    assert out.read_bytes() == b"from before"
    assert not leftovers(tmp_path)
