"""A room whose person is in memory only while somebody is inside, under an address of another program's server."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError
from udh_core.live.room import ROUTES, Room
from udh_core.live.session import HEADER
from udh_core.rendering.live_person import LivePerson


@asynccontextmanager
async def mounted(room: Room) -> AsyncIterator[str]:
    """Its address."""
    app = web.Application()
    app.add_routes([web.get(f"/some/where/{end}", partial(handler, room)) for end, handler in ROUTES.items()])
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/some/where/"
    finally:
        await runner.cleanup()


async def frames(session: aiohttp.ClientSession, place: str, count: int) -> list[int]:
    """Numbers of the first frames that a visitor gets, who then leaves."""
    async with session.ws_connect(f"{place}talk") as socket:
        return [HEADER.unpack_from(await socket.receive_bytes(timeout=60))[0] for _ in range(count)]


async def figures(session: aiohttp.ClientSession, place: str) -> dict[str, object]:
    async with session.get(f"{place}health") as answer:
        return await answer.json()


async def emptied(room: Room) -> None:
    for _ in range(200):
        if room.is_empty:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the person is still in memory")


def test_the_person_is_opened_for_the_first_and_freed_behind_the_last(
    person_avatar: Path, generator_file: Path, models: Path
) -> None:
    opened: list[weakref.ref[LivePerson]] = []
    freed: list[bool] = []

    def open_person() -> LivePerson:
        found = LivePerson(open_avatar(person_avatar), generator_file)
        opened.append(weakref.ref(found))
        return found

    async def visit() -> None:
        room = Room(open_person, freed=lambda: freed.append(opened[-1]() is None))
        async with mounted(room) as place, aiohttp.ClientSession() as session:
            async with session.get(place) as answer:
                assert "<canvas" in await answer.text()
            assert room.is_empty and not opened  # who only looks at the page opens nobody
            for turn in (1, 2):
                assert await frames(session, place, 3) == [0, 1, 2]
                await emptied(room)
                assert len(opened) == len(freed) == turn
            assert (await figures(session, place))["frames"] == 0

    gc.disable()  # nothing of the person is left to a collection that may come late
    try:
        asyncio.run(visit())
    finally:
        gc.enable()
    assert freed == [True, True]


def test_visitors_at_once_share_one_person(person_avatar: Path, generator_file: Path, models: Path) -> None:
    opened: list[int] = []

    def open_person() -> LivePerson:
        opened.append(1)
        return LivePerson(open_avatar(person_avatar), generator_file)

    async def visit() -> None:
        room = Room(open_person, 2)
        async with mounted(room) as place, aiohttp.ClientSession() as session:
            both = await asyncio.gather(*(frames(session, place, 5) for _ in range(2)))
            assert both == [[0, 1, 2, 3, 4]] * 2
            await emptied(room)

    asyncio.run(visit())
    assert opened == [1]


def test_who_cannot_be_opened_is_said_in_the_words_of_the_place() -> None:
    def open_person() -> LivePerson:
        raise FormatError("this is no avatar")

    async def visit() -> None:
        room = Room(open_person, words=str.upper)
        async with mounted(room) as place, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.ws_connect(f"{place}talk") as socket:
                    assert await socket.receive_json(timeout=20) == {"error": "THIS IS NO AVATAR"}
                    assert (await socket.receive(timeout=20)).type == aiohttp.WSMsgType.CLOSE
                    assert socket.close_code == 1011
            assert room.is_empty

    asyncio.run(visit())
