"""The command `udh serve`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from ..batch.work import open_person
from ..errors import OptionError, UdhError
from ..files import scratch_folder
from ..rendering.options import RenderOptions, WhenLonger, WhenLost
from .console import console
from .options import Device, quoted


def serve_command(
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar.")] = None,
    generator: Annotated[Path | None, typer.Option(help="The trained generator.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Both in one file, a bundle of udh export.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on. Any but 127.0.0.1 asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.", min=0, max=65535)] = 8765,
    token: Annotated[str, typer.Option(help="Token that visitors need; made up where one is needed.")] = "",
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
        from aiohttp import web

        from ..live.server import LOCAL, LiveServer
    except ImportError as error:
        raise UdhError("the live page needs aiohttp, which is not installed: pip install aiohttp") from error
    from ..rendering.stream import SpeechStream

    options = RenderOptions(when_audio_longer, compiled=compiled, amplitude=amplitude, lost=lost, mark=mark)
    token = token or ("" if host in LOCAL else secrets.token_urlsafe(12))
    with scratch_folder() as scratch:
        opened, checkpoint = open_person(avatar, generator, bundle, Path(scratch))
        SpeechStream(opened, checkpoint, options, device=device).close()  # what does not work is said now
        server = LiveServer(lambda: SpeechStream(opened, checkpoint, options, device=device), token)
        address = f"http://{host}:{port}/" + (f"?token={token}" if token else "")
        console.print(f"open {address} in a browser; Ctrl-C ends it", soft_wrap=True)
        try:
            web.run_app(server.app(), host=host, port=port, print=None, shutdown_timeout=2.0, access_log=None)
        except OSError as error:
            raise OptionError(
                f"`host` {host} and `port` {port} cannot be used ({error.strerror}); choose others"
            ) from error
