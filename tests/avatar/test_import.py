"""Importing a clip: what is there already and belongs to somebody else, and a sound that may be another clip's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar import reuse
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip
from udh_core.errors import FileError
from udh_core.media.audio import load_waveform, write_wave

OPTIONS = PrepareOptions(96, "mel80")


@pytest.mark.parametrize("name", ["video.mp4", "audio.wav", "features/mel80.npy"])
def test_files_of_somebody_else_are_not_replaced(person: Path, tmp_path: Path, name: str) -> None:
    for path in (tmp_path / name, tmp_path / "thesis.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with pytest.raises(FileError, match=r"is no avatar, and its \w+(\.\w+)? would be replaced; give another folder"):
        import_clip(person / "person.mp4", tmp_path, OPTIONS).run()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {name, "thesis.txt"}
    reuse.check_no_strangers(tmp_path.parent)
    (tmp_path / "thesis.txt").unlink()
    reuse.check_no_strangers(tmp_path)  # what an avatar without its avatar.json looks like


@pytest.mark.parametrize(("times", "noted"), [(1, False), (4, True)])
def test_a_sound_that_goes_on_after_the_picture_is_named(person: Path, tmp_path: Path, times: int, noted: bool) -> None:
    write_wave(tmp_path / "long.wav", np.tile(load_waveform(person / "speech.wav"), times))
    avatar = import_clip(person / "person.mp4", tmp_path / "a", OPTIONS, audio=tmp_path / "long.wav").run()
    assert ("sound length" in {note.name for note in avatar.notes()}) == noted
