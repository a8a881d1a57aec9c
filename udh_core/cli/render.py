"""The command `udh render`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OptionError
from ..rendering.options import RenderOptions, WhenLonger, WhenLost, WhenShorter
from .console import console, run
from .options import Device, quoted

if TYPE_CHECKING:  # what is heavy is imported where it is used: `udh --help` shall be quick
    from ..avatar.folder import Avatar


def render_command(
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    avatar: Annotated[Path | None, typer.Option(help="Folder of the prepared avatar.")] = None,
    generator: Annotated[Path | None, typer.Option(help="The trained generator.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Both in one file, a bundle of udh export.")] = None,
    audio: Annotated[Path | None, typer.Option(help="What the person shall say.")] = None,
    text: Annotated[str | None, typer.Option(help="English text to speak instead (needs hibari-tts).")] = None,
    when_audio_longer: Annotated[
        WhenLonger, quoted(RenderOptions, "when_audio_longer")
    ] = RenderOptions.when_audio_longer,
    when_audio_shorter: Annotated[
        WhenShorter, quoted(RenderOptions, "when_audio_shorter")
    ] = RenderOptions.when_audio_shorter,
    amplitude: Annotated[float, quoted(RenderOptions, "amplitude")] = RenderOptions.amplitude,
    rest: Annotated[bool, quoted(RenderOptions, "rest", "--rest/--no-rest")] = RenderOptions.rest,
    audio_track: Annotated[int, quoted(RenderOptions, "audio_track")] = RenderOptions.audio_track,
    lost: Annotated[WhenLost, quoted(RenderOptions, "lost")] = RenderOptions.lost,
    start: Annotated[float, quoted(RenderOptions, "start_s")] = RenderOptions.start_s,
    ends_at_rest: Annotated[bool, quoted(RenderOptions, "ends_at_rest", "--ends-at-rest")] = RenderOptions.ends_at_rest,
    compiled: Annotated[bool, quoted(RenderOptions, "compiled", "--compile")] = RenderOptions.compiled,
    device: Device = "cpu",
) -> None:
    from ..media.audio import write_wave
    from ..rendering.render import render
    from ..speech.tts import speak

    if (audio is None) == (text is None):
        raise OptionError("give either --audio or --text")
    options = RenderOptions(
        when_audio_longer,
        when_audio_shorter,
        compiled=compiled,
        rest=rest,
        amplitude=amplitude,
        audio_track=audio_track,
        lost=lost,
        start_s=start,
        ends_at_rest=ends_at_rest,
    )
    with tempfile.TemporaryDirectory() as scratch:
        opened, checkpoint = _person(avatar, generator, bundle, Path(scratch))
        if audio is None:
            audio = Path(scratch) / "speech.wav"
            write_wave(audio, speak(text or ""))
        run(render(opened, checkpoint, audio, out, options, device=device))
    console.print(f"{out} is ready", soft_wrap=True)


def _person(avatar: Path | None, generator: Path | None, bundle: Path | None, scratch: Path) -> tuple[Avatar, Path]:
    """What the user wants to render with: avatar and generator as given, or a bundle opened in `scratch`."""
    if bundle is not None and avatar is None and generator is None:
        from ..export.bundle import open_bundle

        return open_bundle(bundle, scratch / "avatar")
    if bundle is not None or avatar is None or generator is None:
        raise OptionError("give either --avatar and --generator, or --bundle")
    from ..avatar.folder import open_avatar

    return open_avatar(avatar), generator
