"""The command `udh render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..batch.jobs import RenderJob
from ..batch.work import render_job
from ..rendering.options import Codec, RenderOptions, WhenLonger, WhenLost, WhenShorter
from .console import console, run
from .options import Device, quoted


def render_command(
    out: Annotated[Path, quoted(RenderJob, "out")],
    avatar: Annotated[Path | None, quoted(RenderJob, "avatar")] = None,
    generator: Annotated[Path | None, quoted(RenderJob, "generator")] = None,
    bundle: Annotated[Path | None, quoted(RenderJob, "bundle")] = None,
    audio: Annotated[Path | None, quoted(RenderJob, "audio")] = None,
    text: Annotated[str | None, quoted(RenderJob, "text")] = None,
    also: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            metavar="AVATAR GENERATOR AUDIO",
            help="Who speaks beside the person: another face of the same clip, the generator trained on it, and what "
            "it says. Both mouths are drawn into each frame before it is encoded, and both sounds become one.",
        ),
    ] = None,
    when_audio_longer: Annotated[
        WhenLonger, quoted(RenderOptions, "when_audio_longer")
    ] = RenderOptions.when_audio_longer,
    when_audio_shorter: Annotated[
        WhenShorter, quoted(RenderOptions, "when_audio_shorter")
    ] = RenderOptions.when_audio_shorter,
    codec: Annotated[Codec, quoted(RenderOptions, "codec")] = RenderOptions.codec,
    amplitude: Annotated[float, quoted(RenderOptions, "amplitude")] = RenderOptions.amplitude,
    rest: Annotated[bool, quoted(RenderOptions, "rest", "--rest/--no-rest")] = RenderOptions.rest,
    audio_track: Annotated[int, quoted(RenderOptions, "audio_track")] = RenderOptions.audio_track,
    lost: Annotated[WhenLost, quoted(RenderOptions, "lost")] = RenderOptions.lost,
    start: Annotated[float, quoted(RenderOptions, "start_s")] = RenderOptions.start_s,
    ends_at_rest: Annotated[bool, quoted(RenderOptions, "ends_at_rest", "--ends-at-rest")] = RenderOptions.ends_at_rest,
    another_clip: Annotated[bool, quoted(RenderOptions, "another_clip", "--another-clip")] = RenderOptions.another_clip,
    mark: Annotated[str, quoted(RenderOptions, "mark")] = RenderOptions.mark,
    overlay: Annotated[bool, quoted(RenderOptions, "overlay", "--overlay")] = RenderOptions.overlay,
    compiled: Annotated[bool, quoted(RenderOptions, "compiled", "--compile")] = RenderOptions.compiled,
    device: Device = "cpu",
) -> None:
    options = RenderOptions(
        when_audio_longer,
        when_audio_shorter,
        codec=codec,
        compiled=compiled,
        rest=rest,
        amplitude=amplitude,
        audio_track=audio_track,
        lost=lost,
        start_s=start,
        ends_at_rest=ends_at_rest,
        another_clip=another_clip,
        mark=mark,
        overlay=overlay,
    )
    run(render_job(RenderJob(out, avatar, generator, bundle, audio, text, device, options), also))
    console.print(f"{out} is ready", soft_wrap=True)
