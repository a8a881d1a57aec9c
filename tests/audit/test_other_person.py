"""Somebody else in the clip is named by the audit, with the times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from udh_core.audit import audit, video
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip, track_face
from udh_core.face.identity import OTHER, SURE
from udh_core.media.audio import write_wave
from udh_core.media.video import VideoWriter

FPS, FIRST, STOP = 10, 30, 45  # of the clip; where somebody else is shown
EDGES_S = np.arange(151) / 25


@pytest.fixture(scope="module")
def talk(
    two_people: tuple[list[np.ndarray], list[np.ndarray]], models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Avatar:
    """A prepared clip of somebody, with a second and a half of somebody else in it."""
    folder, (own, other) = tmp_path_factory.mktemp("talk"), two_people
    write_wave(folder / "s.wav", np.random.default_rng(0).normal(0, 0.1, 6 * 16000).clip(-1, 1).astype(np.float32))
    sizes = {"width": 512, "height": 288, "fps": FPS}
    with VideoWriter(folder / "talk.mp4", **sizes, audio=folder / "s.wav", encoder="x264") as writer:
        for frame in (*own[:FIRST], *other[: STOP - FIRST], *own[FIRST:]):
            writer.write(frame)
    import_clip(folder / "talk.mp4", folder / "avatar", PrepareOptions(96)).run()
    return track_face(folder / "avatar", PrepareOptions(96), models=models).run()


def test_another_person_is_named_with_the_times(talk: Avatar, models: Path) -> None:
    findings = {finding.name: finding for finding in audit(talk, models=models).run().findings}
    found = findings["other person"]
    assert found.level == "red" and found.ranges_s == ((FIRST / FPS, STOP / FPS),)
    assert "not trained on" in found.sentence and "3.0–4.5 s" in found.sentence and "trim the clip" in found.sentence
    assert findings["face"].level == findings["second face"].level == "green"


@pytest.mark.parametrize(("frames", "level"), [(60, "yellow"), (14, "yellow"), (4, "green")])
def test_a_face_in_doubt_is_named(person_avatar: Path, frames: int, level: str) -> None:
    """Unless it is only for a moment, as in a blink."""
    track = open_avatar(person_avatar).track()
    unsure = np.where(np.arange(150) < frames, (SURE + OTHER) / 2, 0.1).astype(np.float32)
    found = video._other_person(replace(track, distance=unsure), EDGES_S)
    assert found.level == level
    if level == "yellow":
        assert "perhaps another person" in found.sentence and "trim the clip to one person" in found.sentence
        assert found.ranges_s == ((0.0, frames / 25),)


def test_who_is_alone_raises_no_flag(person_avatar: Path) -> None:
    track = open_avatar(person_avatar).track()
    assert track.distance is not None and np.isfinite(track.distance).all()
    for one in (track, replace(track, distance=None)):
        found = video._other_person(one, EDGES_S)
        assert (found.level, found.ranges_s) == ("green", ())
