"""The live page as a Ray Serve application, one replica for each machine's worth of visitors.

    pip install "ray[serve]" "ultralight-digital-human[torch,opencv,live]"
    UDH_AVATAR=/data/me UDH_GENERATOR=/data/me.safetensors UDH_TOKEN=secret serve run docs.ray_serve:live

Open http://127.0.0.1:8000/?token=secret. Ray Serve's proxy takes the connections and passes them on to replicas; page
and WebSocket are those of `udh serve`. Avatar and generator have the same names on each machine.
"""

import asyncio
import hmac
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.responses import FileResponse
from ray import serve

import udh_core.live
from udh_core import LivePerson, SpeechStream, open_avatar
from udh_core.live.frame_loop import FrameLoop
from udh_core.live.session import Session

PLACES = 2  # visitors of a replica
TRY_AGAIN_LATER, ENDED = 1013, 1011  # how a WebSocket is closed
PAGE = Path(udh_core.live.__file__).parent / "page.html"
app = FastAPI()


async def forward(outbox: asyncio.Queue[bytes | dict[str, Any] | None], socket: WebSocket) -> None:
    while (message := await outbox.get()) is not None:
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_json(message)
    await socket.close(ENDED)


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 2})
@serve.ingress(app)
class Live:
    """One person, whom a few visitors talk to at once."""

    def __init__(self, avatar: str, generator: str, token: str) -> None:
        self.frames = FrameLoop(LivePerson(open_avatar(avatar), generator))
        self.token, self.visitors = token.encode(), 0

    @app.get("/")
    async def page(self, token: str = "") -> FileResponse:
        if not hmac.compare_digest(token.encode(), self.token):
            raise HTTPException(403)
        return FileResponse(PAGE)

    @app.websocket("/talk")
    async def talk(self, socket: WebSocket, token: str = "") -> None:
        if not hmac.compare_digest(token.encode(), self.token):
            raise WebSocketException(1008)
        await socket.accept()
        if self.visitors == PLACES:
            await socket.send_json({"error": "no place is left; try again when somebody has left"})
            await socket.close(TRY_AGAIN_LATER)
            return
        self.visitors += 1
        try:
            await self.serve_visitor(socket)
        finally:
            self.visitors -= 1

    async def serve_visitor(self, socket: WebSocket) -> None:
        """Until the visitor leaves: what the session sends, to the socket; what the socket brings, to the session."""
        outbox: asyncio.Queue[bytes | dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def send(message: bytes | dict[str, Any] | None) -> bool:
            loop.call_soon_threadsafe(outbox.put_nowait, message)
            return outbox.qsize() < 25  # False: the visitor does not keep up

        stream = await asyncio.to_thread(SpeechStream.of, self.frames.person)
        session = Session(stream, send)
        self.frames.add(session)
        forwarding = asyncio.create_task(forward(outbox, socket))
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                problem = session.take(message.get("bytes") or message.get("text") or "")
                if problem:
                    outbox.put_nowait({"error": problem})
        finally:
            await asyncio.to_thread(session.close)
            forwarding.cancel()


live = Live.bind(os.environ["UDH_AVATAR"], os.environ["UDH_GENERATOR"], os.environ["UDH_TOKEN"])
