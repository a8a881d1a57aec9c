"""The live page of the built-in person, served in a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from udh_core.avatar.folder import open_avatar
from udh_core.live.server import LiveServer
from udh_core.rendering.live_person import LivePerson


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(avatar: Path, generator: Path, token: str = "", sessions: int = 1) -> Iterator[str]:
    """host:port of a page of this avatar folder and generator."""
    loop = asyncio.new_event_loop()
    server = LiveServer(LivePerson(open_avatar(avatar), generator), sessions, token)
    runner = web.AppRunner(server.app(), shutdown_timeout=1.0)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{asyncio.run_coroutine_threadsafe(start(), loop).result(20)}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
