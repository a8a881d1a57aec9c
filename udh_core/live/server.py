"""A server of its own for the live page: who is admitted, and how it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

from aiohttp import web

from ..rendering.live_person import LivePerson
from .room import ROUTES, Room

LOCAL = ("127.0.0.1", "localhost", "::1")


class LiveServer:
    """Serves so many visitors at once. Without a token only the machine itself is served."""

    def __init__(self, person: LivePerson, sessions: int = 1, token: str = "") -> None:
        self._room, self._token = Room(lambda: person, sessions), token

    def app(self) -> web.Application:
        """What is served: / and /talk to visitors, /health to everybody."""
        app = web.Application(middlewares=[self._admit])
        app.add_routes([web.get(f"/{name}", partial(handler, self._room)) for name, handler in ROUTES.items()])
        app.cleanup_ctx.append(self._draw)
        app.on_shutdown.append(self._dismiss)
        return app

    async def finish(self, grace_s: float) -> None:
        """As `Room.finish`."""
        await self._room.finish(grace_s)

    async def _draw(self, app: web.Application) -> AsyncIterator[None]:
        """The person is there as long as the application is."""
        async with self._room.opened():
            yield

    async def _dismiss(self, app: web.Application) -> None:
        await self._room.dismiss()

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
