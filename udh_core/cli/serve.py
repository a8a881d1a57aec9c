"""The command `udh serve`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import Annotated

import typer

from ..batch.work import open_person
from ..errors import OptionError, UdhError
from ..files import scratch_folder
from ..live.options import ServeOptions
from ..rendering.options import RenderOptions, WhenLonger, WhenLost
from .console import console
from .options import Device, quoted


def serve_command(
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar.")] = None,
    generator: Annotated[Path | None, typer.Option(help="The trained generator.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Both in one file, a bundle of udh export.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on. Any but 127.0.0.1 asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.", min=0, max=65535)] = 8765,
    token: Annotated[
        str, typer.Option(envvar="UDH_TOKEN", help="Token that visitors need; made up where one is needed.")
    ] = "",
    sessions: Annotated[int, quoted(ServeOptions, "sessions")] = ServeOptions.sessions,
    grace_s: Annotated[float, quoted(ServeOptions, "grace_s", "--grace")] = ServeOptions.grace_s,
    when_audio_longer: Annotated[
        WhenLonger, quoted(RenderOptions, "when_audio_longer")
    ] = RenderOptions.when_audio_longer,
    amplitude: Annotated[float, quoted(RenderOptions, "amplitude")] = RenderOptions.amplitude,
    lost: Annotated[WhenLost, quoted(RenderOptions, "lost")] = RenderOptions.lost,
    mark: Annotated[str, quoted(RenderOptions, "mark")] = RenderOptions.mark,
    compiled: Annotated[bool, quoted(RenderOptions, "compiled", "--compile")] = RenderOptions.compiled,
    device: Device = "cpu",
) -> None:
    try:
        from ..live.server import LOCAL, LiveServer, serve
    except ImportError as error:
        raise UdhError("the live page needs aiohttp, which is not installed: pip install aiohttp") from error
    from ..live.capacity import measured_capacity
    from ..rendering.live_person import LivePerson

    serving = ServeOptions(sessions, grace_s)
    options = RenderOptions(when_audio_longer, compiled=compiled, amplitude=amplitude, lost=lost, mark=mark)
    token = token or ("" if host in LOCAL else secrets.token_urlsafe(12))
    with scratch_folder() as scratch:
        opened, checkpoint = open_person(avatar, generator, bundle, Path(scratch))
        person = LivePerson(opened, checkpoint, options, device=device)
        room = measured_capacity(person)  # what does not work is said now

        def ready() -> None:
            address = f"http://{host}:{port}/" + (f"?token={token}" if token else "")
            console.print(f"open {address} in a browser; Ctrl-C ends it", soft_wrap=True)
            console.print(_room(serving.sessions, room), soft_wrap=True)

        server = LiveServer(person, serving.sessions or room, token)
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C where the system knows no signals
                asyncio.run(serve(server, host, port, serving.grace_s, ready))
        except OSError as error:
            raise OptionError(
                f"`host` {host} and `port` {port} cannot be used ({error.strerror}); choose others"
            ) from error


def _room(chosen: int, measured: int) -> str:
    if not chosen:
        return f"visitors at once: {measured}, as many as this machine draws; --sessions allows others"
    if chosen > measured:
        return (
            f"visitors at once: {chosen}; this machine draws {measured} at the clip's rate, more are shown fewer frames"
        )
    return f"visitors at once: {chosen}"
