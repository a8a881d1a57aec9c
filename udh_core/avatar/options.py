"""What a user may choose when a clip is prepared. Light to import: the command line quotes it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError
from ..options import check, option

# Said once, when a person's first avatar is made
CONSENT = (
    "Make videos of a person only with that person's consent; every video says in its metadata that it is generated."
)


@dataclass(frozen=True)
class PrepareOptions:
    """What a user may choose when a clip is prepared."""

    crop_px: int = option(
        256,
        "Side of the face crop, px: 160 is fast, 256 is good for faces up to 400 px wide, 320 and 512 are for "
        "close-ups and need a GPU.",
        least=96,
        most=512,
        step=32,
    )
    encoder: str = option(
        "whisper-tiny", "Audio encoder: whisper-tiny, mel80, hubert:FOLDER, wenet:FILE …; a wrong name lists them all."
    )
    start_s: float = option(0.0, "Leave out this many seconds at the start of the clip.", least=0, step=0.1)
    duration_s: float | None = option(None, "Take this many seconds of the clip.", least=0.01, step=0.1)
    face_index: int = option(0, "Which face: 0 = the largest and most central.", least=0)
    face_point: tuple[float, float] | None = option(None, "Take the face at this place in the first frame, x y px.")
    max_gap_s: float = option(
        1.0, "Longest stretch without a face that is bridged, seconds.", least=0, most=3600, step=0.1
    )
    skip_lost: bool = option(False, "Leave longer stretches without a face out instead of refusing the clip.")
    audio_track: int = option(
        0, "Which of the file's sound tracks, counted from 1. 0 = the one with speech.", least=0, step=1
    )
    video_track: int = option(
        0, "Which picture of a file with several, counted from 1; 0 = the longest, then the largest.", least=0, most=99
    )

    def __post_init__(self) -> None:
        check(self)
        if self.crop_px % 32:
            raise OptionError(f"`crop_px` = {self.crop_px}: choose a multiple of 32, such as 160, 256, 320 or 512")
