"""The commands `udh prepare` and `udh audit`."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..avatar.options import CONSENT, PrepareOptions
from ..batch.jobs import PrepareJob
from ..errors import FormatError
from ..files import atomic_write, check_apart, output_lock, scratch_folder
from ..progress import Progress, job
from .console import console, run, with_flags
from .options import AvatarDir, Device, Encoder, quoted

if TYPE_CHECKING:  # what is heavy is imported where it is used: `udh --help` shall be quick
    from ..avatar.folder import Avatar


def prepare_command(
    video: Path,
    avatar: AvatarDir,
    audio: Annotated[Path | None, quoted(PrepareJob, "audio")] = None,
    crop_px: Annotated[int, quoted(PrepareOptions, "crop_px")] = PrepareOptions.crop_px,
    encoder: Encoder = PrepareOptions.encoder,
    start: Annotated[float, quoted(PrepareOptions, "start_s")] = PrepareOptions.start_s,
    duration: Annotated[float | None, quoted(PrepareOptions, "duration_s")] = PrepareOptions.duration_s,
    face_index: Annotated[int, quoted(PrepareOptions, "face_index")] = PrepareOptions.face_index,
    face_at: Annotated[tuple[float, float] | None, quoted(PrepareOptions, "face_point")] = None,
    max_gap: Annotated[float, quoted(PrepareOptions, "max_gap_s")] = PrepareOptions.max_gap_s,
    skip_lost: Annotated[bool, quoted(PrepareOptions, "skip_lost", "--skip-lost")] = PrepareOptions.skip_lost,
    audio_track: Annotated[int, quoted(PrepareOptions, "audio_track")] = PrepareOptions.audio_track,
    video_track: Annotated[int, quoted(PrepareOptions, "video_track")] = PrepareOptions.video_track,
    device: Device = "cpu",
) -> None:
    from ..avatar.occlusion import describe
    from ..avatar.prepare import prepare
    from ..avatar.reuse import is_whole
    from ..intervals import describe_ranges, runs

    tracks = audio_track, video_track
    options = PrepareOptions(crop_px, encoder, start, duration, face_index, face_at, max_gap, skip_lost, *tracks)
    known = is_whole(avatar)
    made = run(prepare(video, avatar, options, audio=audio, device=device))
    track, fps = made.track(), float(made.info.fps)
    lost, others = runs(~track.present & ~track.others), runs(track.others)
    hidden = describe(made, track)
    console.print(
        f"{avatar}: {made.info.frame_count} frames of {made.info.width}×{made.info.height} at {fps:g} fps, "
        f"{int(track.valid.sum())} with a face, {int(track.shot_starts.sum())} shots"
        + (f"; no face at {describe_ranges(lost, fps)}" if lost else "")
        + (f"; another person at {describe_ranges(others, fps)}" if others else "")
        + (f"; {hidden}" if hidden else ""),
        soft_wrap=True,
    )
    for note in made.notes():
        console.print(f"{note.name}: {with_flags(note.sentence)}", soft_wrap=True)
    if not known:
        console.print(CONSENT, soft_wrap=True)


def audit_command(
    video: Path,
    avatar: Annotated[
        Path | None, typer.Option("--avatar", help="Prepare the clip here and keep it; without it nothing is kept.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw where the clip is good and bad into this PNG.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
) -> None:
    from ..audit import audit
    from ..audit.plot import write_picture

    outputs = [path for path in (picture, json_out) if path is not None]
    check_apart(outputs, [video])
    with output_lock(*outputs), scratch_folder() as scratch:
        root = avatar or Path(scratch) / "avatar"
        opened = run(_prepared(video, root))
        result = run(audit(opened))
        if picture is not None:
            write_picture(picture, opened, result)
    table = Table("", "check", "what was found")
    for finding in result.sorted():
        table.add_row(Text(finding.level, style=finding.level), finding.name, with_flags(finding.sentence))
    console.print(table)
    if json_out is not None:
        with atomic_write(json_out) as temporary:
            temporary.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")


@job
def _prepared(video: Path, root: Path) -> Generator[Progress, None, Avatar]:
    """Import the clip and find its face; an avatar that was made of this clip, or a part of it, stays as it is."""
    from ..avatar.folder import open_avatar
    from ..avatar.prepare import import_clip, track_face
    from ..avatar.reuse import is_of_clip
    from ..avatar.source import is_made_from

    with suppress(FormatError):  # no avatar yet, or an unfinished one
        opened = open_avatar(root)
        if is_of_clip(root, video) or is_made_from(opened.clip, video):
            return opened
    options = PrepareOptions(skip_lost=True)
    yield from import_clip(video, root, options).steps()
    return (yield from track_face(root, options).steps())
