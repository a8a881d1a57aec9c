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
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import MediaError
from ..inference.compositor import Compositor
from ..inference.live_driving import HOP, LOOK_AHEAD, LiveDriving
from ..inference.tint import Tint
from ..media.audio import SAMPLE_RATE_HZ
from ..models.checkpoint import open_generator
from ..models.generator import Generator as GeneratorNet
from ..prefetch import prefetch
from ..speech.encoders import open_encoder
from .another_clip import check_clip
from .live_speech import LiveSpeech
from .mark import mark_of
from .options import RenderOptions
from .places import drawn_places
from .playback import first_frame, play, stretches
from .render import refuse_lost

_FOREVER = 1 << 62  # frames
_AHEAD = 12  # frames that are decoded ahead: where the clip turns, decoding begins anew
BUFFER = 1600  # samples (100 ms) that wait before speech begins, beyond what is needed: pieces come unevenly


class Frame(NamedTuple):
    """What is shown from number / fps on."""

    number: int  # in the stream
    picture: np.ndarray  # (H, W, 3) uint8 RGB
    sound: np.ndarray  # (m,) float32 -1..1 at 16 kHz, from `sample_of(number)` on
    speaking: bool  # False: the mouth is at rest


class SpeechStream:
    """Push sound, take frames, all in one thread; a context manager, or `close` it.

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
        """Open avatar and generator, as `render` does; errors as there.

        Of the options those count that do not concern a file: how the clip is played, `feather`, `rest`, `amplitude`,
        `lost`, `compiled`, `another_clip`, `mark`.
        """
        info, network = open_generator(Path(generator), device)
        tint = check_clip(avatar, info, network, options, models)
        self.fps: Fraction = avatar.info.fps
        encoder = open_encoder(info.encoder, device=device, models=models)
        driving = LiveDriving(network, encoder, gain=options.amplitude, rest=options.rest, models=models)
        self._speech = LiveSpeech(driving, self.fps, network.config.warp.frames // 2)
        self._picture = _Pictures(avatar, network, options, tint)
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

    def ready_frames(self) -> Iterator[Frame]:
        """The frames whose sound is there, with all that decides about them: for files, as fast as they are drawn."""
        while self._speech.is_ready():
            yield self._take(draw=True)

    def next_frame(self, *, draw: bool = True) -> Frame:
        """The frame that is due: speech where there is any, else the mouth at rest, in silence.

        Speech begins when all is there that decides about its first frame, and a little more, or when it has waited for
        so long. Once it runs, it goes on: where sound comes late, the mouth is predicted from what is there. Without
        `draw` the picture is the one before, for whoever is late.
        """
        waiting = self._speech.waiting > 0
        if waiting and not self._speaking and not self._may_begin():
            self._speech.hold()
            self._held += 1
        else:
            self._speaking, self._held = waiting, 0
        return self._take(draw)

    def close(self) -> None:
        """Stop decoding."""
        self._picture.close()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _may_begin(self) -> bool:
        waited_s = float(self._held / self.fps)
        return self._speech.is_ready(BUFFER) or waited_s >= (HOP + LOOK_AHEAD + BUFFER) / SAMPLE_RATE_HZ

    def _take(self, draw: bool) -> Frame:
        number = self._speech.next
        shapes, sound, rest = self._speech.take()
        return Frame(number, self._picture.next(shapes, draw), sound, rest < 1)


class _Pictures:
    """The clip's frames, played for ever, with other mouths."""

    def __init__(self, avatar: Avatar, network: GeneratorNet, options: RenderOptions, tint: Tint | None) -> None:
        if options.lost == "fail":
            refuse_lost(avatar, np.arange(avatar.info.frame_count))
        places = drawn_places(avatar)
        occlusion = avatar.occlusion()
        self._compositor = Compositor(network.warp, avatar.crop, places, options.feather, occlusion, tint=tint)
        if options.compiled:
            self._compositor.compile(1)
        lost = ~np.isfinite(places[:, 0, 0])
        self._held = lost if options.lost == "hold" else np.zeros_like(lost)
        longer = options.when_audio_longer
        longer = "bounce" if longer == "remap" else longer  # speech has no end to fit the clip to
        order = stretches(avatar.info.frame_count, _FOREVER, longer, first=first_frame(avatar, options))
        self._played = prefetch(play(avatar, order), _AHEAD)
        self._mark = mark_of(avatar, options)
        self._last: np.ndarray | None = None

    def next(self, shapes: Tensor, draw: bool) -> np.ndarray:
        """(H, W, 3) uint8: the next frame with a mouth of these shapes (frames, shape_width), or the last one again."""
        number, frame = next(self._played)
        if self._last is None or (draw and not self._held[number]):
            drawn = self._compositor.composite([frame], [number], shapes[None])[0]
            self._last = drawn if self._mark is None else self._mark.on(drawn, None)
        return self._last

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
