"""How the clip is played where the audio is longer or shorter than it."""

from __future__ import annotations

from typing import Literal

WhenLonger = Literal["bounce", "loop", "hold"]  # forwards and backwards in turn, from the start again, the last frame
WhenShorter = Literal["cut", "keep"]  # the video ends with the audio, or goes on to the end of the clip
