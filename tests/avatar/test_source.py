"""What an avatar is made of: a file that was changed anywhere is another file, and earlier avatars are kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip
from udh_core.avatar.source import former_fingerprint, former_identity_of, identity_of, is_made_from, stage_key
from udh_core.media.audio import write_wave

RATE_HZ, SECONDS = 96000, 13  # 2.5 MB: more than the two ends that an earlier fingerprint looked at
OPTIONS = PrepareOptions(160)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, SECONDS * RATE_HZ).astype(np.float32)
    write_wave(tmp_path / "sound.wav", waveform, RATE_HZ)
    return tmp_path / "sound.wav"


@pytest.fixture
def folder(person: Path, sound: Path, tmp_path: Path) -> Path:
    """An avatar with picture, sound, and something that was made of its sound."""
    root = tmp_path / "avatar"
    import_clip(person / "person.mp4", root, OPTIONS, audio=sound).run()
    return with_features(root)


def with_features(root: Path) -> Path:
    (root / "features").mkdir(exist_ok=True)
    (root / "features" / "mel80.npy").touch()
    return root


def mend_middle(path: Path) -> None:
    """Silence in the middle of a file, whose size and ends stay."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    before = former_fingerprint(path)
    data[middle - 1000 : middle + 1000] = bytes(2000)
    path.write_bytes(data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # a clock may tick slower than this test
    assert former_fingerprint(path) == before


def as_made_before(root: Path, source: Path, sound: Path) -> None:
    """Give the stages the keys of an earlier version."""
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    state["stages"]["video"] = former_identity_of(source)
    state["stages"]["audio"] = stage_key("audio", former_fingerprint(sound), 0.0, None)
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")


def work(person: Path, root: Path, sound: Path) -> set[str]:
    return {step.stage for step in import_clip(person / "person.mp4", root, OPTIONS, audio=sound)}


def test_sound_that_was_mended_in_the_middle_is_another(person: Path, folder: Path, sound: Path) -> None:
    before = (folder / "audio.wav").read_bytes()
    assert work(person, folder, sound) == set()
    mend_middle(sound)
    assert work(person, folder, sound) == {"audio"}
    assert (folder / "audio.wav").read_bytes() != before
    assert not (folder / "features").exists()


def test_a_clip_that_was_changed_in_the_middle_is_another(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(np.random.default_rng(0).bytes(3 << 20))
    before = identity_of(clip)
    assert is_made_from(before, clip)
    mend_middle(clip)
    assert identity_of(clip) != before
    assert not is_made_from(before, clip)


def test_avatars_of_earlier_versions_are_kept_and_from_then_on_watched(person: Path, folder: Path, sound: Path) -> None:
    as_made_before(folder, person / "person.mp4", sound)
    identity = open_avatar(folder, ("video",)).identity
    for _ in range(2):
        assert work(person, folder, sound) == set()
    assert (folder / "features" / "mel80.npy").is_file()
    assert open_avatar(folder, ("video",)).identity == identity == former_identity_of(person / "person.mp4")
    mend_middle(sound)
    assert work(person, folder, sound) == {"audio"}
    assert open_avatar(folder, ("video",)).identity == identity


def test_an_earlier_avatar_whose_sound_has_another_end_is_done_anew(person: Path, folder: Path, sound: Path) -> None:
    as_made_before(folder, person / "person.mp4", sound)
    with sound.open("r+b") as file:
        file.seek(-100, 2)
        file.write(bytes(100))
    assert work(person, folder, sound) == {"audio"}


def test_the_same_file_elsewhere_is_the_same(tmp_path: Path, sound: Path) -> None:
    other = Path(shutil.copy(sound, tmp_path / "other.wav"))
    assert identity_of(other) == identity_of(sound)
