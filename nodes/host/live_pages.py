"""Live pages on ComfyUI's own server. Each has an address that cannot be guessed; only the node that was run knows it.

Nothing that a browser sends names a file: an address stands for the person whom a node was given when it ran. Whoever
may use this ComfyUI may open it, and nobody else; which pages of other sites may not is ComfyUI's own decision.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Hashable
from functools import partial

import comfy.model_management
from aiohttp import web
from server import PromptServer

from ...udh_core.errors import InUseError, UdhError
from ...udh_core.live.room import ROUTES, Room
from ...udh_core.models.memory import is_out_of_memory
from ...udh_core.rendering.live_person import LivePerson
from . import wording

PREFIX = "/udh/live"
MOST_KNOWN = 32  # addresses; of more the oldest that nobody uses is forgotten, and its node runs again
MOST_OPEN = 2  # people in memory at one time
GONE = "this page is no longer there; run the node Live Preview again"
_rooms: dict[str, Room] = {}  # by the last part of the address
_keys: dict[Hashable, str] = {}  # by what is shown there
OpenPerson = Callable[[str], LivePerson]  # of a device


def register() -> None:
    """Have ComfyUI's server serve the pages; it adds its routes once all packs are loaded."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        for end, handler in ROUTES.items():
            server.routes.get(f"{PREFIX}/{{key}}/{end}")(partial(_serve, handler))


def address(content: Hashable, open_person: OpenPerson, sessions: int) -> str:
    """The path of the page on which a person talks, the same for the same content; it opens them when it is visited."""
    key = _keys.get(content)
    if key is None:
        _forget_oldest()
        key = _keys[content] = secrets.token_urlsafe(16)
        _rooms[key] = Room(
            partial(_opened, open_person),
            sessions,
            freed=comfy.model_management.soft_empty_cache,
            words=lambda text: wording.in_our_words(UdhError(text)),
        )
    return f"{PREFIX}/{key}/"


def is_known(path: str) -> bool:
    """Whether an address leads to its page."""
    return path.rstrip("/").rpartition("/")[2] in _rooms


async def _serve(
    handler: Callable[[Room, web.Request], Awaitable[web.StreamResponse]], request: web.Request
) -> web.StreamResponse:
    room = _rooms.get(request.match_info["key"])
    return web.Response(status=404, text=GONE) if room is None else await handler(room, request)


def _opened(open_person: OpenPerson) -> LivePerson:
    """On ComfyUI's device if there is room left; a graph that runs meanwhile keeps what it has there."""
    if sum(not room.is_empty for room in _rooms.values()) >= MOST_OPEN:
        raise InUseError(f"{MOST_OPEN} people are talking on other pages; close one of them")
    device = str(comfy.model_management.get_torch_device())
    try:
        return open_person(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return open_person("cpu")


def _forget_oldest() -> None:
    for content, key in list(_keys.items()):
        if len(_keys) < MOST_KNOWN:
            return
        if _rooms[key].is_empty:
            del _keys[content], _rooms[key]
