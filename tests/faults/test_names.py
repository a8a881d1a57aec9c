"""Names as long as a file system takes, longer ones, and odd ones: they work, or are refused before the work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import children
import pytest
from machine import Forks, Made, contents, leftovers

from udh_core.avatar.folder import open_avatar
from udh_core.errors import FileError
from udh_core.files import atomic_folder, atomic_write, output_lock
from udh_core.models.checkpoint import resume_path
from udh_core.rendering.render import render
from udh_core.training.generator import train_generator
from udh_core.training.run_log import set_aside

LONG = {
    "cjk": "的" * 83 + ".a",  # 251 bytes
    "emoji": "😀" * 62 + ".mp4",  # 252 bytes
    "letters": "a" * 251 + ".mp4",  # 255 bytes
    "suffix": "a." + "b" * 253,
    "dots": "..mp4",
    "undecodable": os.fsdecode(b"\xff\xfe" * 120 + b".mp4"),
}
TOO_LONG = {"cjk": "的" * 84 + ".mp4", "emoji": "😀" * 63 + ".mp4", "letters": "a" * 252 + ".mp4"}


@pytest.mark.parametrize("name", LONG)
def test_a_long_name_works(tmp_path: Path, name: str) -> None:
    path = tmp_path / LONG[name]
    with output_lock(path), atomic_write(path) as temporary:
        temporary.write_bytes(b"whole")
        assert len(os.fsencode(temporary.name)) <= 255
    assert contents(tmp_path) == {LONG[name]: b"whole"}
    path.unlink()
    with atomic_folder(path) as temporary:
        (temporary / "x").touch()
    assert path.is_dir()


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_longer_name_is_refused_by_the_name_itself(made: Made, tmp_path: Path, name: str) -> None:
    path, opened = tmp_path / TOO_LONG[name], open_avatar(made.avatar)
    words = rf"the name {TOO_LONG[name][:20]}.*… has 25\d bytes, 255 are the most; give a shorter name"
    with pytest.raises(FileError, match=words):
        next(render(opened, made.generator, made.speech, path))
    with pytest.raises(FileError, match=words), atomic_folder(path):
        pytest.fail("the block must not start")
    training = train_generator(opened, path.with_suffix(".safetensors"), children.TRAIN, encoder="mel80")
    with pytest.raises(FileError, match="give a shorter name"):
        next(training)
    assert list(tmp_path.iterdir()) == []


def test_files_beside_a_checkpoint_count(made: Made, tmp_path: Path) -> None:
    """me.safetensors itself could be written, me.resume.safetensors could not."""
    out = tmp_path / ("的" * 80 + ".safetensors")
    with pytest.raises(FileError, match="has 259 bytes, 255 are the most; give a shorter name"):
        next(train_generator(open_avatar(made.avatar), out, children.TRAIN, encoder="mel80"))
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_to_be_set_aside(made: Made, tmp_path: Path) -> None:
    out = tmp_path / ("的" * 75 + ".safetensors")
    for source, target in ((made.generator, out), (resume_path(made.generator), resume_path(out))):
        shutil.copy(source, target)
    before = contents(tmp_path)
    with pytest.raises(FileError, match="give a shorter name"):
        set_aside(out)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["emoji", "dots", "undecodable"])
def test_the_whole_way(forks: Forks, clip: Path, made: Made, tmp_path: Path, name: str) -> None:
    """From a clip of that name, with an avatar of that name, to a video and a page of that name."""
    source, out = tmp_path / "in" / LONG[name], tmp_path / LONG[name]
    root = tmp_path / "avatars" / LONG[name]
    source.parent.mkdir()
    shutil.copy(clip, source)
    shutil.copytree(made.avatar, root)
    both = ("--avatar", root, "--generator", made.generator)
    prepared = forks.udh(tmp_path / "log", "prepare", source, "--avatar", root, "--encoder", "mel80", "--crop-px", 96)
    assert prepared.code == 0, prepared.text
    drawn = forks.udh(tmp_path / "log", "render", *both, "--audio", made.speech, "--out", out)
    assert drawn.code == 0, drawn.text
    assert out.stat().st_size > 1000
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("flag", ["--avatar", "--generator", "--audio"])
def test_an_input_whose_name_is_too_long(forks: Forks, made: Made, tmp_path: Path, flag: str) -> None:
    given = {
        "--avatar": made.avatar,
        "--generator": made.generator,
        "--audio": made.speech,
        "--out": tmp_path / "o.mp4",
    }
    given[flag] = tmp_path / ("的" * 90)
    ended = forks.udh(tmp_path / "log", "render", *(part for pair in given.items() for part in pair))
    assert (ended.code, len(ended.lines)) == (2, 1), ended.text
    assert "has 270 bytes, 255 are the most; give a shorter name" in ended.lines[0]
