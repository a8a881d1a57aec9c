"""Rendering while the speech is still going on: sound comes in pieces, and frames are taken one by one.

    with SpeechStream(avatar, "me.safetensors") as stream:
        for number, late in pace(stream.fps):
            stream.push(what_came_meanwhile())
            show(stream.next_frame(draw=not late))

Frames do not depend on the pieces in which the sound came. While there is none the person goes on moving, the mouth at
rest. See docs/streaming.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..errors import MediaError
from ..inference.compositor import Cut, Run
from ..inference.live_driving import HOP, LOOK_AHEAD
from ..media.audio import SAMPLE_RATE_HZ
from ..prefetch import prefetch
from .live_person import LivePerson
from .live_speech import LiveSpeech
from .options import RenderOptions
from .playback import first_frame, play, stretches

_FOREVER = 1 << 62  # frames
_AHEAD = 12  # frames that are decoded ahead: where the clip turns, decoding begins anew
BUFFER = 1600  # samples (100 ms) that wait before speech begins, beyond what is needed: pieces come unevenly


class Frame(NamedTuple):
    """What is shown from number / fps on."""

    number: int  # in the stream
    picture: np.ndarray  # (H, W, 3) uint8 RGB
    sound: np.ndarray  # (m,) float32 -1..1 at 16 kHz, from `sample_of(number)` on
    speaking: bool  # False: the mouth is at rest


class Due(NamedTuple):
    """A frame whose mouth is not drawn yet."""

    number: int  # in the stream
    sound: np.ndarray  # (m,) float32 -1..1 at 16 kHz
    speaking: bool
    place: int  # of the picture in the clip
    picture: np.ndarray  # (H, W, 3) uint8 RGB
    cut: Cut | None  # what is drawn of it; None: the frame before is shown again


class SpeechStream:
    """Push sound, take frames, one thread at a time; a context manager, or `close` it.

    Held in memory: what was pushed and not shown, five seconds of sound, and a few frames of the clip.
    """

    def __init__(
        self,
        avatar: Avatar,
        generator: str | Path,
        options: RenderOptions = RenderOptions(),
        *,
        models: Path | None = None,
        device: str = "cpu",
    ) -> None:
        """A stream that has the person for itself, see `LivePerson`; MediaError when the clip cannot be read."""
        self._begin(LivePerson(avatar, generator, options, models=models, device=device))

    @classmethod
    def of(cls, person: LivePerson) -> SpeechStream:
        """One of several streams of a person; MediaError when the clip cannot be read."""
        stream = cls.__new__(cls)
        stream._begin(person)
        return stream

    def _begin(self, person: LivePerson) -> None:
        self.person = person
        self.fps: Fraction = person.fps
        self._clip = _Clip(person)
        self._speech = LiveSpeech(person.driving(), self.fps, person.network.config.warp.frames // 2)
        self._run = Run()
        self._last: np.ndarray | None = None
        self._speaking = False  # sound was shown, and more of it waits
        self._held = 0  # frames that sound has waited for since it came

    def push(self, samples: np.ndarray) -> None:
        """Sound that follows on what was pushed before: (m,) float32 -1..1 at 16 kHz, m as it comes.

        MediaError when a sample is no number.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise MediaError("a piece of sound is not mono, or holds samples that are no numbers; send it again")
        if len(samples):
            self._speech.push(samples.copy())

    def finish(self) -> None:
        """Nothing follows on what was pushed: it is shown to its end without waiting for more. Pushing begins anew."""
        self._speech.finished = True

    def flush(self) -> None:
        """Break off: what was pushed and not shown is forgotten, and the mouth goes to rest from the next frame on."""
        self._speech.flush()
        self._speaking = False

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that were pushed and not shown."""
        return self._speech.waiting / SAMPLE_RATE_HZ

    @property
    def next_number(self) -> int:
        """Of the frame that is taken next."""
        return self._speech.next

    def ready_frames(self) -> Iterator[Frame]:
        """The frames whose sound is there, with all that decides about them: for files, as fast as they are drawn."""
        while self._speech.is_ready():
            due = self._take(draw=True)
            self._speech.predict_ahead()
            yield _drawn(self, due)

    def next_frame(self, *, draw: bool = True) -> Frame:
        """The frame that is due: speech where there is any, else the mouth at rest, in silence.

        Speech begins when all is there that decides about its first frame, and a little more, or when it has waited for
        so long. Once it runs, it goes on: where sound comes late, the mouth is predicted from what is there. Without
        `draw` the picture is the one before, for whoever is late.
        """
        return _drawn(self, self.due_frame(draw=draw))

    def due_frame(self, *, draw: bool = True) -> Due:
        """The first part of `next_frame`: all but the network. `drawn` has to follow before the next one."""
        waiting = self._speech.waiting > 0
        if waiting and not self._speaking and not self._may_begin():
            self._speech.hold()
            self._held += 1
        else:
            self._speaking, self._held = waiting, 0
        due = self._take(draw)
        if self._speaking:
            self._speech.predict_ahead()
        return due

    def drawn(self, due: Due, patches: np.ndarray) -> Frame:
        """The last part of `next_frame`: with what the network has drawn of `due.cut`, (n, S, S, 3) uint8."""
        if due.cut is not None:
            compositor, mark = self.person.compositor, self.person.mark
            drawn = compositor.paste_patches([due.picture], [due.place], due.cut, patches)[0]
            self._last = drawn if mark is None else mark.on(drawn, None)
        picture = due.picture if self._last is None else self._last
        return Frame(due.number, picture, due.sound, due.speaking)

    def close(self) -> None:
        """Stop decoding and predicting."""
        self._clip.close()
        self._speech.close()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _may_begin(self) -> bool:
        waited_s = float(self._held / self.fps)
        return self._speech.is_ready(BUFFER) or waited_s >= (HOP + LOOK_AHEAD + BUFFER) / SAMPLE_RATE_HZ

    def _take(self, draw: bool) -> Due:
        number = self._speech.next
        shapes, sound, rest = self._speech.take()
        place, picture = self._clip.next()
        cut = None
        if self._last is None or (draw and not self.person.held[place]):
            cut = self.person.compositor.cut([picture], [place], shapes[None], self._run)
        return Due(number, sound, rest < 1, place, picture, cut)


def next_frames(streams: Sequence[SpeechStream]) -> list[Frame]:
    """`next_frame` of several streams of one person, drawn in one batch."""
    due = [stream.due_frame() for stream in streams]
    return [stream.drawn(*pair) for stream, pair in zip(streams, with_patches(streams[0].person, due), strict=True)]


def with_patches(person: LivePerson, due: Sequence[Due]) -> list[tuple[Due, np.ndarray]]:
    """Frames of a person, each with what the network draws of it, (n, S, S, 3) uint8; in one batch."""
    size = person.compositor.spec.size
    patches = iter(person.draw([one.cut for one in due if one.cut is not None]))
    nothing = np.zeros((0, size, size, 3), np.uint8)
    return [(one, nothing if one.cut is None else next(patches)) for one in due]


def _drawn(stream: SpeechStream, due: Due) -> Frame:
    return stream.drawn(*with_patches(stream.person, [due])[0])


class _Clip:
    """The clip's frames, played for ever."""

    def __init__(self, person: LivePerson) -> None:
        """Waits for the first frame: whoever begins delays nobody who is shown already."""
        avatar, longer = person.avatar, person.options.when_audio_longer
        longer = "bounce" if longer == "remap" else longer  # speech has no end to fit the clip to
        order = stretches(avatar.info.frame_count, _FOREVER, longer, first=first_frame(avatar, person.options))
        self._played = prefetch(play(avatar, order), _AHEAD)
        self._next = next(self._played)

    def next(self) -> tuple[int, np.ndarray]:
        """(number, frame (H, W, 3) uint8 RGB)."""
        shown, self._next = self._next, next(self._played)
        return shown

    def close(self) -> None:
        self._played.close()


def pace(
    fps: Fraction, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
) -> Iterator[tuple[int, bool]]:
    """(number, late) of frame after frame, each when it is due: number / fps after the first, exactly, for ever.

    late: the next one is already due, so that drawing this one would not catch up. No number is left out, so no sound
    is.
    """
    begun, frame_s = clock(), float(1 / fps)
    for number in count():
        wait_s = begun + number * fps.denominator / fps.numerator - clock()
        if wait_s > 0:
            sleep(wait_s)
        yield number, wait_s < -frame_s
