"""What a user may choose for the demo. No torch in here: the command line quotes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..avatar.options import PrepareOptions
from ..errors import OptionError
from ..options import check, option

MADE_CROP_PX = 160  # the made person's face is small


@dataclass(frozen=True)
class DemoOptions:
    """What the demo makes and how long it trains. Without a video it makes its own talking person."""

    folder: Path = option(Path("demo"), "Where everything goes.")
    video: Path | None = option(None, "Your clip; without it a talking person is made.")
    audio: Path | None = option(None, "What the person shall say; belongs to a clip of your own.")
    minutes: float = option(5.0, "How long the generator trains, minutes.", least=0.01)
    clip_seconds: float = option(90.0, "Length of the made clip, seconds.", least=5.0)
    crop_px: int | None = option(None, "Side of the face crop, px: 160 for the made person, 256 for your clip.")
    encoder: str = option("whisper-tiny", "Audio encoder, as of `udh prepare`.")
    seed: int = option(0, "Seed of everything that is drawn at random.", least=0)

    def __post_init__(self) -> None:
        check(self)
        if self.video is not None and self.audio is None:
            raise OptionError("give the new speech too: --video and --audio belong together")
        PrepareOptions(crop_px=self.crop_size())

    def crop_size(self) -> int:
        """Side of the crop, px, that was chosen or fits the clip."""
        return self.crop_px or (MADE_CROP_PX if self.video is None else PrepareOptions.crop_px)
