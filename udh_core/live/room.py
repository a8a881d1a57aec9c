"""Places for visitors of one person: the page, its WebSocket, and what a proxy asks for, under any address.

Pictures are sent as JPEG and sound as samples, not as a video: every browser plays that without an encoder's and a
player's buffers, and what is broken off is silent at once. See docs/streaming.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import WSCloseCode, WSMsgType, web

from ..errors import UdhError
from ..rendering.live_person import LivePerson
from ..rendering.stream import SpeechStream
from .capacity import measured_capacity
from .frame_loop import FrameLoop
from .session import Send, Session

MOST_BEHIND = 25  # messages on their way; behind that no new pictures are drawn
MOST_MESSAGE = 1 << 20  # bytes of one: half a minute of sound
LEAVING_S = 2.0  # that whoever comes waits for whoever leaves: a page that is loaded again is both
POLL_S = 0.1  # how often it is looked whether somebody still speaks, or has left
BUSY = "somebody else is talking to this person, and no place is left; try again when they have left"
CLOSING = "this server is being ended: what is being said is finished, nothing new is taken; try again later"
Outbox: TypeAlias = asyncio.Queue[bytes | dict[str, Any] | WSCloseCode]
_PAGE = Path(__file__).parent / "page.html"


@dataclass(eq=False)
class Visitor:
    """Who has a place."""

    socket: web.WebSocketResponse
    outbox: Outbox = field(default_factory=asyncio.Queue)
    session: Session | None = None  # None: it is not open yet


class Room:
    """Serves so many visitors at once. The person is opened for the first of them, and freed behind the last."""

    def __init__(
        self,
        open_person: Callable[[], LivePerson],
        sessions: int = 0,
        *,
        freed: Callable[[], object] = lambda: None,
        words: Callable[[str], str] = str,
    ) -> None:
        """sessions: 0 = as many as are measured when the person is opened.

        freed: called when nothing of the person is in memory any more. words: what a refusal is called here.
        """
        self._open_person, self._freed, self._words = open_person, freed, words
        self._sessions = self._capacity = sessions
        self._visitors: set[Visitor] = set()
        self._frames: FrameLoop | None = None
        self._inside, self._door = 0, asyncio.Lock()
        self._closing = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the person is in memory."""
        return self._frames is None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The person is in memory for so long; errors as in `LivePerson`."""
        async with self._door:
            if self._frames is None:
                self._frames = await asyncio.to_thread(self._open)
            self._inside += 1
        try:
            yield
        finally:
            async with self._door:
                self._inside -= 1
                if not self._inside:
                    await asyncio.to_thread(self._close)

    async def finish(self, grace_s: float) -> None:
        """Let nobody in any more; who speaks may finish within `grace_s`, then all connections are ended."""
        self._closing = True
        await asyncio.gather(*(self._finish(visitor, grace_s) for visitor in self._visitors))

    async def dismiss(self) -> None:
        """Let nobody in any more, and end all connections at once."""
        self._closing = True
        await asyncio.gather(*(visitor.socket.close(code=WSCloseCode.GOING_AWAY) for visitor in self._visitors))

    async def page(self, request: web.Request) -> web.StreamResponse:
        """What a browser shows; its WebSocket is `talk` beside it."""
        return web.FileResponse(_PAGE, headers={"Cache-Control": "no-store"})

    async def health(self, request: web.Request) -> web.StreamResponse:
        """How busy it is, and nothing about the person; 503 where nobody is let in any more."""
        frames = self._frames
        status = "closing" if self._closing else "serving" if frames is None or frames.runs else "failed"
        figures = {
            "status": status,
            "sessions": len(self._visitors),
            "capacity": self._capacity,
            "frames": frames.frames if frames else 0,
            "late": frames.late if frames else 0,
        }
        code = 200 if status == "serving" else 503
        return web.json_response(figures, status=code, headers={"Cache-Control": "no-store"})

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """A visitor, from the first message to the last."""
        socket = web.WebSocketResponse(timeout=2.0, heartbeat=20, max_msg_size=MOST_MESSAGE)
        await socket.prepare(request)
        if self._closing:
            await _turn_away(socket, CLOSING)
            return socket
        try:
            async with self.opened():
                if await self._place_found():
                    await self._serve(Visitor(socket))
                else:
                    await _turn_away(socket, CLOSING if self._closing else BUSY)
        except UdhError as error:  # the person cannot be opened
            await socket.send_json({"error": self._words(str(error))})
            await socket.close(code=WSCloseCode.INTERNAL_ERROR)
        return socket

    def _open(self) -> FrameLoop:
        person = self._open_person()
        self._capacity = self._sessions or measured_capacity(person)
        return FrameLoop(person)

    def _close(self) -> None:
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()
        del frames
        self._freed()

    async def _place_found(self) -> bool:
        """Whether there is a place, which has to be taken at once; waits a little for whoever leaves."""
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + LEAVING_S
        while len(self._visitors) >= self._capacity and not self._closing and now_s() < ends_s:
            await asyncio.sleep(POLL_S)
        return len(self._visitors) < self._capacity and not self._closing

    async def _serve(self, visitor: Visitor) -> None:
        frames = self._frames
        if frames is None:
            raise RuntimeError("visitors are served while the person is open")
        self._visitors.add(visitor)
        forwarding = asyncio.create_task(_forward(visitor, self._words))
        try:
            stream = await asyncio.to_thread(SpeechStream.of, frames.person)
            visitor.session = Session(stream, _sender(visitor.outbox))
            frames.add(visitor.session)
            await self._listen(visitor, visitor.session)
        except UdhError as error:
            visitor.outbox.put_nowait({"error": str(error)})
            visitor.outbox.put_nowait(WSCloseCode.INTERNAL_ERROR)
            await forwarding
        finally:
            try:
                if visitor.session is not None:
                    await asyncio.to_thread(visitor.session.close)
            finally:  # also where the server cancels this because the visitor has left
                forwarding.cancel()  # it may end later, and holds nothing of the person then
                visitor.session = None
                self._visitors.discard(visitor)

    async def _listen(self, visitor: Visitor, session: Session) -> None:
        async for message in visitor.socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            refused = self._closing and message.type == WSMsgType.TEXT
            problem = CLOSING if refused else session.take(message.data)
            if problem:
                visitor.outbox.put_nowait({"error": problem})

    async def _finish(self, visitor: Visitor, grace_s: float) -> None:
        visitor.outbox.put_nowait({"closing": CLOSING})
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + grace_s
        while visitor.session and visitor.session.talks and now_s() < ends_s:
            await asyncio.sleep(POLL_S)
        visitor.outbox.put_nowait(WSCloseCode.GOING_AWAY)
        while visitor in self._visitors:
            await asyncio.sleep(POLL_S)


# What is served, by the end of its address
ROUTES: dict[str, Callable[[Room, web.Request], Awaitable[web.StreamResponse]]] = {
    "": Room.page,
    "talk": Room.talk,
    "health": Room.health,
}


async def _turn_away(socket: web.WebSocketResponse, why: str) -> None:
    await socket.send_json({"error": why})
    await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)


def _sender(outbox: Outbox) -> Send:
    loop = asyncio.get_running_loop()

    def send(message: bytes | dict[str, Any] | None) -> bool:
        if not loop.is_closed():
            loop.call_soon_threadsafe(outbox.put_nowait, WSCloseCode.INTERNAL_ERROR if message is None else message)
        return outbox.qsize() < MOST_BEHIND

    return send


async def _forward(visitor: Visitor, words: Callable[[str], str]) -> None:
    """Send what is in the outbox until it says how the connection is closed."""
    with contextlib.suppress(ConnectionResetError):  # the visitor has left
        while True:
            message = await visitor.outbox.get()
            if isinstance(message, WSCloseCode):
                break
            if isinstance(message, bytes):
                await visitor.socket.send_bytes(message)
            else:
                told = {"error": words(message["error"])} if "error" in message else message
                await visitor.socket.send_json(told)
        await visitor.socket.close(code=message)
