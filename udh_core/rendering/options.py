"""What a user may choose when rendering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import OptionError
from ..options import check, option

# Forwards and backwards in turn; from the start again; the last frame; the clip slower
WhenLonger = Literal["bounce", "loop", "hold", "remap"]
# The video ends with the audio; goes on to the end of the clip; the clip faster
WhenShorter = Literal["cut", "keep", "remap"]
WhenLost = Literal["pass", "hold", "fail"]  # the frame as it is, the last one that was drawn, or no video

Codec = Literal["auto", "h264"]


@dataclass(frozen=True)
class RenderOptions:
    """Options of a render."""

    when_audio_longer: WhenLonger = option(
        "bounce",
        "When the audio is longer than the clip: play it forwards and backwards, loop it, hold the last frame, or "
        "remap, which plays it slower: frames are repeated evenly.",
        choices=get_args(WhenLonger),
    )
    when_audio_shorter: WhenShorter = option(
        "cut",
        "When the audio is shorter: cut the picture, keep it to its end, or remap, which plays it faster: frames are "
        "left out evenly.",
        choices=get_args(WhenShorter),
    )
    crf: int = option(16, "Quality of the picture (x264 crf): lower is better and larger.", least=0, most=51, step=1)
    codec: Codec = option(
        "auto",
        "Of the picture: auto takes H.264 of 8 bits, and HEVC of 10 bits for a clip that has more than 8, in its own "
        "colours, also HDR; h264 has 8 bits of BT.709, which plays everywhere.",
        choices=get_args(Codec),
    )
    batch: int = option(4, "Frames drawn at a time.", least=1, most=64, step=1)
    feather: float = option(
        0.1,
        "Width of the seam between generated and real, in distances of the outer eye corners; wider hides an edge.",
        least=0.01,
        most=0.4,
        step=0.01,
    )
    compiled: bool = option(
        False, "Compile the network first: 20 seconds before the first frame, for long videos; needs a C++ compiler."
    )
    rest: bool = option(True, "Where the audio is silent the mouth takes its rest pose.")
    amplitude: float = option(
        1.0,
        "How far the mouth moves from its rest pose: 1 = about as in the clip.",
        least=0.5,
        most=1.5,
        step=0.05,
    )
    audio_track: int = option(
        0, "Which of the file's sound tracks, counted from 1. 0 = the one with speech.", least=0, step=1
    )
    lost: WhenLost = option(
        "pass",
        "Where no face is found, or most of the mouth is covered: pass the frame as it is, hold the last one that was "
        "drawn, or fail.",
        choices=get_args(WhenLost),
    )
    start_s: float = option(
        0.0,
        "Where in the clip the picture begins, in seconds: another place for each sentence, and they look less alike.",
        least=0,
        step=0.1,
    )
    ends_at_rest: bool = option(
        False, "The first and the last frame show the mouth at rest, whatever sounds there: for sentences to be joined."
    )
    another_clip: bool = option(
        False,
        "The avatar is another clip of the person than the one that the generator was trained on: its face is "
        "compared, and the mouth gets its colours.",
    )
    mark: str = option(
        "",
        "A visible mark: this text in a corner of every frame, away from the mouth, such as AI-generated. Empty: none.",
    )
    overlay: bool = option(
        False,
        "Only the mouth, with alpha, to be laid over the clip in an editor: ProRes 4444 where the output ends in .mov, "
        "PNG files and the sound where it is a new folder.",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.overlay and self.lost == "hold":
            raise OptionError("an overlay lies over the clip's own frames: choose pass or fail as `lost`")
        if self.overlay and self.mark.strip():
            raise OptionError("an overlay holds the mouth alone: leave out `mark`, and put it into the finished video")
