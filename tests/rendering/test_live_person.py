"""Several streams of one person: each as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.media.audio import load_waveform
from udh_core.rendering.live_person import LivePerson
from udh_core.rendering.stream import Frame, SpeechStream, next_frames


@pytest.fixture(scope="module")
def live_person(person_avatar: Path, moving_generator: Path, models: Path) -> LivePerson:
    return LivePerson(open_avatar(person_avatar), moving_generator, models=models)


@pytest.fixture(scope="module")
def sounds(live_person: LivePerson) -> tuple[np.ndarray, np.ndarray]:
    """Two voices: the second is the first one, higher and later."""
    waveform = load_waveform(live_person.avatar.audio, duration_s=4.0)
    return waveform[:16000], waveform[16000:48000:2]


def alone(person: LivePerson, sound: np.ndarray, at: int, count: int) -> Iterator[Frame]:
    """Frames of a stream that has the person for itself, and is given a sound before frame `at`."""
    with closing(SpeechStream.of(person)) as stream:
        for number in range(count):
            if number == at:
                stream.push(sound)
            yield stream.next_frame()


def test_streams_that_are_drawn_together_are_each_as_alone(
    live_person: LivePerson, sounds: tuple[np.ndarray, np.ndarray]
) -> None:
    """Of two streams one begins later, and elsewhere in the clip; each is given its own sound."""
    wanted = [list(alone(live_person, sound, at, 30)) for sound, at in zip(sounds, (2, 4), strict=True)]
    found: list[list[Frame]] = [[], []]
    with ExitStack() as open_ones:
        streams = [open_ones.enter_context(SpeechStream.of(live_person)) for _ in range(2)]
        found[0] += next_frames(streams[:1])
        for number in range(29):
            for stream, sound, at in zip(streams, sounds, (1, 4), strict=True):
                if number == at:
                    stream.push(sound)
            for frames, frame in zip(found, next_frames(streams), strict=True):
                frames.append(frame)
    for ours, theirs in zip(found, wanted, strict=True):
        for frame, other in zip(ours, theirs, strict=False):
            assert frame.number == other.number and frame.speaking == other.speaking
            assert np.array_equal(frame.sound, other.sound)
            assert np.abs(frame.picture.astype(int) - other.picture).max() <= 1
    apart = [np.abs(a.picture.astype(int) - b.picture).max() for a, b in zip(*wanted, strict=True)]
    assert max(apart) > 20 and sum(frame.speaking for frame in found[1]) > 10
