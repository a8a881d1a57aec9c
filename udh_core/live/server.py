"""The page, its WebSocket, and what a proxy asks for.

Pictures are sent as JPEG and sound as samples, not as a video: every browser plays that without an encoder's and a
player's buffers, and what is broken off is silent at once. See docs/streaming.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from ..errors import UdhError
from ..rendering.live_person import LivePerson
from ..rendering.stream import SpeechStream
from .frame_loop import FrameLoop
from .session import Send, Session

LOCAL = ("127.0.0.1", "localhost", "::1")
MOST_BEHIND = 25  # messages on their way; behind that no new pictures are drawn
MOST_MESSAGE = 1 << 20  # bytes of one: half a minute of sound
LEAVING_S = 2.0  # that whoever comes waits for whoever leaves: a page that is loaded again is both
POLL_S = 0.1  # how often it is looked whether somebody still speaks, or has left
BUSY = "somebody else is talking to this person, and no place is left; try again when they have left"
CLOSING = "this server is being ended: what is being said is finished, nothing new is taken; try again later"
Outbox: TypeAlias = asyncio.Queue[bytes | dict[str, Any] | WSCloseCode]
_PAGE = Path(__file__).parent / "page.html"
_FRAMES = web.AppKey("frames", FrameLoop)


@dataclass(eq=False)
class Visitor:
    """Who has a place."""

    socket: web.WebSocketResponse
    outbox: Outbox = field(default_factory=asyncio.Queue)
    session: Session | None = None  # None: it is not open yet


class LiveServer:
    """Serves so many visitors at once. Without a token only the machine itself is served."""

    def __init__(self, person: LivePerson, sessions: int = 1, token: str = "") -> None:
        self._person, self._capacity, self._token = person, sessions, token
        self._visitors: set[Visitor] = set()
        self._closing = False

    def app(self) -> web.Application:
        """What is served: / and /talk to visitors, /health to everybody."""
        app = web.Application(middlewares=[self._admit])
        app.add_routes([web.get("/", self._page), web.get("/talk", self._talk), web.get("/health", self._health)])
        app.cleanup_ctx.append(self._draw)
        app.on_shutdown.append(self._dismiss)
        return app

    async def finish(self, grace_s: float) -> None:
        """Let nobody in any more; who speaks may finish within `grace_s`, then all connections are ended."""
        self._closing = True
        await asyncio.gather(*(self._finish(visitor, grace_s) for visitor in self._visitors))

    async def _draw(self, app: web.Application) -> AsyncIterator[None]:
        """Frames, as long as the application is there."""
        app[_FRAMES] = FrameLoop(self._person)
        yield
        await asyncio.to_thread(app[_FRAMES].close)

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse those without the token, and pages of other sites, which could reach a local server, too."""
        if request.path == "/health":
            return await handler(request)
        given = request.query.get("token", "")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPForbidden(text="open the address that was printed when this was started, with its token")
        host = urlsplit(f"//{request.host}").hostname
        origin = request.headers.get("Origin", "")
        if (not self._token and host not in LOCAL) or (origin and urlsplit(origin).netloc != request.host):
            raise web.HTTPForbidden(text="this page may be opened by its own address only")
        return await handler(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(_PAGE, headers={"Cache-Control": "no-store"})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        """How busy it is, and nothing about the person; 503 where nobody is let in any more."""
        frames = request.app[_FRAMES]
        status = "closing" if self._closing else "serving" if frames.runs else "failed"
        figures = {
            "status": status,
            "sessions": len(self._visitors),
            "capacity": self._capacity,
            "frames": frames.frames,
            "late": frames.late,
        }
        code = 200 if status == "serving" else 503
        return web.json_response(figures, status=code, headers={"Cache-Control": "no-store"})

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=2.0, heartbeat=20, max_msg_size=MOST_MESSAGE)
        await socket.prepare(request)
        if await self._place_found():
            await self._serve(Visitor(socket), request.app[_FRAMES])
        else:
            await socket.send_json({"error": CLOSING if self._closing else BUSY})
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
        return socket

    async def _place_found(self) -> bool:
        """Whether there is a place, which has to be taken at once; waits a little for whoever leaves."""
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + LEAVING_S
        while len(self._visitors) >= self._capacity and not self._closing and now_s() < ends_s:
            await asyncio.sleep(POLL_S)
        return len(self._visitors) < self._capacity and not self._closing

    async def _serve(self, visitor: Visitor, frames: FrameLoop) -> None:
        self._visitors.add(visitor)
        forwarding = asyncio.create_task(_forward(visitor))
        try:
            stream = await asyncio.to_thread(SpeechStream.of, self._person)
            visitor.session = Session(stream, _sender(visitor.outbox))
            frames.add(visitor.session)
            await self._listen(visitor, visitor.session)
        except UdhError as error:
            visitor.outbox.put_nowait({"error": str(error)})
            visitor.outbox.put_nowait(WSCloseCode.INTERNAL_ERROR)
            await forwarding
        finally:
            if visitor.session is not None:
                await asyncio.to_thread(visitor.session.close)
            forwarding.cancel()
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

    async def _dismiss(self, app: web.Application) -> None:
        self._closing = True
        await asyncio.gather(*(visitor.socket.close(code=WSCloseCode.GOING_AWAY) for visitor in self._visitors))


async def serve(
    server: LiveServer, host: str, port: int, grace_s: float, ready: Callable[[], object] = lambda: None
) -> None:
    """Until SIGINT or SIGTERM, and then as `LiveServer.finish`; a second one ends it at once.

    `ready` is called when visitors may come. OSError when host and port cannot be used.
    """
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        with _signals() as signals:
            await web.TCPSite(runner, host, port).start()
            ready()
            await signals.get()
            finishing = asyncio.create_task(server.finish(grace_s)), asyncio.create_task(signals.get())
            done, left = await asyncio.wait(finishing, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            for task in done:
                task.result()
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Queue[int]]:
    """What asks this process to end; where the system knows no signals, Ctrl-C interrupts it."""
    loop, found = asyncio.get_running_loop(), asyncio.Queue[int]()
    kinds = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):
        for kind in kinds:
            loop.add_signal_handler(kind, found.put_nowait, kind)
    try:
        yield found
    finally:
        with contextlib.suppress(NotImplementedError):
            for kind in kinds:
                loop.remove_signal_handler(kind)


def _sender(outbox: Outbox) -> Send:
    loop = asyncio.get_running_loop()

    def send(message: bytes | dict[str, Any] | None) -> bool:
        if not loop.is_closed():
            loop.call_soon_threadsafe(outbox.put_nowait, WSCloseCode.INTERNAL_ERROR if message is None else message)
        return outbox.qsize() < MOST_BEHIND

    return send


async def _forward(visitor: Visitor) -> None:
    """Send what is in the outbox until it says how the connection is closed."""
    with contextlib.suppress(ConnectionResetError):  # the visitor has left
        while True:
            message = await visitor.outbox.get()
            if isinstance(message, WSCloseCode):
                break
            if isinstance(message, bytes):
                await visitor.socket.send_bytes(message)
            else:
                await visitor.socket.send_json(message)
        await visitor.socket.close(code=message)
