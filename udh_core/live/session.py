"""One visitor's conversation: a stream paced in real time in one thread, and text spoken in another."""

from __future__ import annotations

import queue
import re
import struct
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..errors import UdhError
from ..rendering.stream import Frame, SpeechStream, pace
from ..speech.tts import speak

JPEG_QUALITY = 90
MOST_WAITING_S = 600.0  # of sound that was not shown yet; more is refused
HEADER = struct.Struct("<II")  # number of the frame; bytes of its JPEG, 0: the picture before stays
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")

# From any thread; None: nothing follows. The answer is False where much of what was sent before still waits
Send = Callable[[bytes | dict[str, Any] | None], bool]


class _Asked(NamedTuple):
    turn: int  # what was asked for before somebody broke off has an earlier one
    what: Any


class Session:
    """Sends every frame as `packed` makes it, and as JSON {"error": …} and {"stopped": number of the next frame}.

    Where one of the threads ends by itself, whatever the reason, the visitor is told that nothing follows.
    """

    def __init__(self, open_stream: Callable[[], SpeechStream], send: Send) -> None:
        self._open_stream, self._send = open_stream, send
        self._sounds: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._texts: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._turn = 0
        self._closing = threading.Event()
        works = (("live frames", self._show), ("live text", self._speak))
        self._threads = [
            threading.Thread(target=self._run, args=[work], name=name, daemon=True) for name, work in works
        ]
        for thread in self._threads:
            thread.start()

    def push(self, sound: np.ndarray) -> None:
        """Sound to be shown: (m,) float32 -1..1 at 16 kHz."""
        self._sounds.put(_Asked(self._turn, sound))

    def say(self, text: str) -> None:
        """English text, by sentences: the first is shown before the last is spoken."""
        for sentence in _SENTENCE_END.split(text.strip()):
            self._texts.put(_Asked(self._turn, sentence))

    def stop(self) -> None:
        """Break off: nothing that was asked for so far is shown any more."""
        self._turn += 1

    def close(self) -> None:
        """Wait until both threads have ended."""
        self._closing.set()
        self._texts.put(_Asked(-1, ""))
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            if not self._closing.is_set():
                self._send(None)

    def _speak(self) -> None:
        while not self._closing.is_set():
            turn, text = self._texts.get()
            if turn != self._turn:
                continue
            try:
                self._sounds.put(_Asked(turn, speak(text)))
            except UdhError as error:
                self._send({"error": str(error)})

    def _show(self) -> None:
        try:
            with self._open_stream() as stream:
                self._show_frames(stream)
        except UdhError as error:
            self._send({"error": str(error)})

    def _show_frames(self, stream: SpeechStream) -> None:
        turn, keeps_up, last = self._turn, True, None
        for number, late in pace(stream.fps, sleep=self._closing.wait):
            if self._closing.is_set():
                return
            if turn != self._turn:
                turn = self._turn
                stream.flush()
                self._send({"stopped": number})
            self._take_in(stream, turn)
            frame = stream.next_frame(draw=keeps_up and not late)
            keeps_up = self._send(packed(frame, frame.picture is not last))
            last = frame.picture

    def _take_in(self, stream: SpeechStream, turn: int) -> None:
        """Push what came since the last frame."""
        while not self._sounds.empty():
            asked, sound = self._sounds.get()
            if asked != turn:
                continue
            if stream.waiting_s < MOST_WAITING_S:
                stream.push(sound)
            else:
                self._send({"error": f"more than {MOST_WAITING_S / 60:g} minutes of sound wait; send more later"})


def packed(frame: Frame, is_new: bool) -> bytes:
    """HEADER, JPEG where the picture is a new one, and 16-bit samples, little-endian."""
    picture = b""
    if is_new:
        picture = cv2.imencode(".jpg", frame.picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    sound = np.round(np.clip(frame.sound, -1, 1) * 32767).astype("<i2").tobytes()
    return HEADER.pack(frame.number, len(picture)) + picture + sound
