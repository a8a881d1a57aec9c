"""One visitor's conversation: a stream whose frames are drawn beside those of others, and text spoken in a thread."""

from __future__ import annotations

import json
import logging
import queue
import re
import struct
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..errors import UdhError
from ..rendering.stream import Due, Frame, SpeechStream
from ..speech.tts import speak

JPEG_QUALITY = 90
MOST_WAITING_S = 600.0  # of sound that was not shown yet; more is refused
HEADER = struct.Struct("<II")  # number of the frame; bytes of its JPEG, 0: the picture before stays
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
_log = logging.getLogger(__name__)

# From any thread; None: nothing follows. The answer is False where much of what was sent before still waits
Send = Callable[[bytes | dict[str, Any] | None], bool]


class _Asked(NamedTuple):
    turn: int  # what was asked for before somebody broke off has an earlier one
    what: Any


class Session:
    """Sends every frame as `packed` makes it, and as JSON {"error": …} and {"stopped": number of the next frame}.

    `due_frame`, `show` and `release` are for what draws, the others for what serves the visitor. Where a session cannot
    go on, whatever the reason, the visitor is told that nothing follows.
    """

    def __init__(self, stream: SpeechStream, send: Send) -> None:
        """The stream is closed with the session."""
        self._stream, self._send = stream, send
        self._sounds: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._texts: queue.Queue[_Asked] = queue.Queue()
        self._turn = self._shown_turn = 0
        self._waits = False  # sound that was not shown
        self._keeps_up = True  # the visitor
        self._last: np.ndarray | None = None  # picture
        self._leaving, self._released = threading.Event(), threading.Event()
        self._speaker = threading.Thread(target=self._speak_all, name="live text", daemon=True)
        self._speaker.start()

    def take(self, message: bytes | str) -> str:
        """Do what a visitor asks for; what is wrong with it, or "".

        Bytes are sound, 16-bit samples at 16 kHz; text is JSON, {"say": "…"} or {"stop": true}.
        """
        if isinstance(message, bytes):
            if len(message) % 2:
                return "sound comes as 16-bit samples: an even number of bytes"
            self.push(np.frombuffer(message, "<i2").astype(np.float32) / 32768)
            return ""
        try:
            wish = json.loads(message)
        except ValueError:
            wish = None
        if isinstance(wish, dict) and isinstance(wish.get("say"), str) and wish["say"].strip():
            self.say(wish["say"])
        elif isinstance(wish, dict) and wish.get("stop") is True:
            self.stop()
        else:
            return "nothing to say: give some English words"
        return ""

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

    @property
    def talks(self) -> bool:
        """Whether something that was asked for was not shown to its end."""
        return self._texts.unfinished_tasks > 0 or not self._sounds.empty() or self._waits

    @property
    def leaves(self) -> bool:
        """Whether no more frames are wanted."""
        return self._leaving.is_set()

    def close(self) -> None:
        """Leave, and wait until nothing of it is in use any more."""
        self._leaving.set()
        self._texts.put(_Asked(-1, ""))
        self._released.wait()
        self._speaker.join()
        self._stream.close()

    def due_frame(self, *, late: bool) -> Due | None:
        """What is shown next; None: the session has failed, and leaves. late: no new picture is drawn."""
        try:
            self._take_in()
            return self._stream.due_frame(draw=self._keeps_up and not late)
        except Exception as error:  # noqa: BLE001 (what fails for one visitor ends no other's session)
            self.fail(error)
            return None

    def show(self, due: Due, patches: np.ndarray) -> None:
        """Send a frame, with what was drawn of it, see `SpeechStream.drawn`."""
        try:
            frame = self._stream.drawn(due, patches)
            self._keeps_up = self._send(packed(frame, frame.picture is not self._last))
            self._last = frame.picture
        except Exception as error:  # noqa: BLE001 (no other's session ends with it)
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Leave; the visitor is told why, where that is known."""
        if isinstance(error, UdhError):
            self._send({"error": str(error)})
        else:
            _log.error("a session has failed", exc_info=error)
        self._end()

    def release(self) -> None:
        """Nothing of it is drawn any more."""
        self._end()
        self._released.set()

    def _end(self) -> None:
        if not self._leaving.is_set():
            self._leaving.set()
            self._send(None)

    def _speak_all(self) -> None:
        try:
            while not self._leaving.is_set():
                self._speak(*self._texts.get())
                self._texts.task_done()
        finally:
            self._end()

    def _speak(self, turn: int, text: str) -> None:
        if turn != self._turn:
            return
        try:
            self._sounds.put(_Asked(turn, speak(text)))
        except UdhError as error:
            self._send({"error": str(error)})

    def _take_in(self) -> None:
        """Push what came since the last frame."""
        self._waits = True
        if self._shown_turn != self._turn:
            self._shown_turn = self._turn
            self._stream.flush()
            self._send({"stopped": self._stream.next_number})
        while not self._sounds.empty():
            asked, sound = self._sounds.get()
            if asked != self._shown_turn:
                continue
            if self._stream.waiting_s < MOST_WAITING_S:
                self._stream.push(sound)
            else:
                self._send({"error": f"more than {MOST_WAITING_S / 60:g} minutes of sound wait; send more later"})
        self._waits = self._stream.waiting_s > 0


def packed(frame: Frame, is_new: bool) -> bytes:
    """HEADER, JPEG where the picture is a new one, and 16-bit samples, little-endian."""
    picture = b""
    if is_new:
        picture = cv2.imencode(".jpg", frame.picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    sound = np.round(np.clip(frame.sound, -1, 1) * 32767).astype("<i2").tobytes()
    return HEADER.pack(frame.number, len(picture)) + picture + sound
