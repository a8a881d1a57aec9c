"""The page and its WebSocket, for one visitor at a time.

Pictures are sent as JPEG and sound as samples, not as a video: every browser plays that without an encoder's and a
player's buffers, and what is broken off is silent at once. See docs/streaming.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from ..rendering.stream import SpeechStream
from .session import Send, Session

LOCAL = ("127.0.0.1", "localhost", "::1")
MOST_BEHIND = 25  # messages on their way; behind that no new pictures are drawn
MOST_MESSAGE = 1 << 20  # bytes of one: half a minute of sound
LEAVING_S = 2.0  # that whoever comes waits for whoever leaves: a page that is loaded again is both
BUSY = "somebody else is talking to this person; try again when they have left"
Outbox: TypeAlias = asyncio.Queue[bytes | dict[str, Any] | None]
_PAGE = Path(__file__).parent / "page.html"


class LiveServer:
    """`open_stream` is called for every visitor. Without a token only the machine itself is served."""

    def __init__(self, open_stream: Callable[[], SpeechStream], token: str = "") -> None:
        self._open_stream, self._token = open_stream, token
        self._visitor: web.WebSocketResponse | None = None
        self._place = asyncio.Lock()

    def app(self) -> web.Application:
        """What is served: / and /talk."""
        app = web.Application(middlewares=[self._admit])
        app.add_routes([web.get("/", self._page), web.get("/talk", self._talk)])
        app.on_shutdown.append(self._dismiss)
        return app

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse those without the token, and pages of other sites, which could reach a local server, too."""
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

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=2.0, heartbeat=20, max_msg_size=MOST_MESSAGE)
        await socket.prepare(request)
        try:
            await asyncio.wait_for(self._place.acquire(), LEAVING_S)
        except asyncio.TimeoutError:
            await socket.send_json({"error": BUSY})
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
            return socket
        self._visitor = socket
        try:
            await self._serve(socket)
        finally:
            self._visitor = None
            self._place.release()
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        outbox: Outbox = asyncio.Queue()
        session = Session(self._open_stream, _sender(outbox))
        forwarding = asyncio.create_task(_forward(outbox, socket))
        try:
            async for message in socket:
                problem = _act(session, message)
                if problem:
                    outbox.put_nowait({"error": problem})
        finally:
            forwarding.cancel()
            await asyncio.to_thread(session.close)

    async def _dismiss(self, app: web.Application) -> None:
        if self._visitor is not None:
            await self._visitor.close(code=WSCloseCode.GOING_AWAY)


def _sender(outbox: Outbox) -> Send:
    loop = asyncio.get_running_loop()

    def send(message: bytes | dict[str, Any] | None) -> bool:
        if not loop.is_closed():
            loop.call_soon_threadsafe(outbox.put_nowait, message)
        return outbox.qsize() < MOST_BEHIND

    return send


async def _forward(outbox: Outbox, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionResetError):  # the visitor has left
        while (message := await outbox.get()) is not None:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_json(message)
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)


def _act(session: Session, message: WSMessage) -> str:
    """Do what a visitor asks for; what is wrong with it, or "".

    Bytes are sound, 16-bit samples at 16 kHz; text is JSON, {"say": "…"} or {"stop": true}.
    """
    if message.type == WSMsgType.BINARY:
        if len(message.data) % 2:
            return "sound comes as 16-bit samples: an even number of bytes"
        session.push(np.frombuffer(message.data, "<i2").astype(np.float32) / 32768)
        return ""
    try:
        wish = json.loads(message.data)
    except ValueError:
        wish = None
    if isinstance(wish, dict) and isinstance(wish.get("say"), str) and wish["say"].strip():
        session.say(wish["say"])
    elif isinstance(wish, dict) and wish.get("stop") is True:
        session.stop()
    else:
        return "nothing to say: give some English words"
    return ""
