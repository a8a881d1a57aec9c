"""The person whom streams show: what is opened once, however many of them there are."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..avatar.folder import Avatar
from ..inference.compositor import Compositor, Cut
from ..inference.live_driving import LiveDriving
from ..inference.pixels import pixels_for
from ..models.checkpoint import open_generator
from ..speech.encoders import open_encoder
from .another_clip import check_clip
from .mark import mark_of
from .options import RenderOptions
from .places import drawn_places
from .render import refuse_lost


class LivePerson:
    """Avatar, generator and audio encoder. No stream changes them, and any thread may use them.

    What belongs to a stream is in `SpeechStream`: its sound, what is known of the voice, its place in the clip.
    """

    def __init__(
        self,
        avatar: Avatar,
        generator: str | Path,
        options: RenderOptions = RenderOptions(),
        *,
        models: Path | None = None,
        device: str = "cpu",
    ) -> None:
        """Open avatar and generator, as `render` does; errors as there.

        Of the options those count that do not concern a file: how the clip is played, `feather`, `rest`, `amplitude`,
        `lost`, `compiled`, `another_clip`, `mark`. Predicts once, see `LiveDriving.warm_up`.
        """
        info, self.network = open_generator(Path(generator), device)
        tint = check_clip(avatar, info, self.network, options, models)
        avatar = avatar.redrawn_in(info.crop)
        if options.lost == "fail":
            refuse_lost(avatar, np.arange(avatar.info.frame_count))
        self.avatar, self.options, self.mark = avatar, options, mark_of(avatar, options)
        self.fps: Fraction = avatar.info.fps
        self._encoder, self._models = open_encoder(info.encoder, device=device, models=models), models
        self.driving().warm_up()
        places = drawn_places(avatar)
        occlusion = avatar.occlusion()
        pixels = pixels_for(avatar.crop, options.feather)
        self.compositor = Compositor(self.network.warp, avatar.crop, places, pixels, occlusion, tint)
        if options.compiled:
            self.compositor.compile(1)
        lost = ~np.isfinite(places[:, 0, 0])
        self.held = lost if options.lost == "hold" else np.zeros_like(lost)  # (N,) bool of the clip's frames

    @property
    def frame_s(self) -> float:
        """How long a frame is shown."""
        return float(1 / self.fps)

    def driving(self) -> LiveDriving:
        """Of one stream; nothing is known of its voice."""
        options = self.options
        return LiveDriving(self.network, self._encoder, gain=options.amplitude, rest=options.rest, models=self._models)

    def draw(self, cuts: Sequence[Cut]) -> list[np.ndarray]:
        """(n, S, S, 3) uint8 of each of the cuts, in one batch; one by one where the network is compiled for that."""
        if self.options.compiled:
            return [self.compositor.patches([cut])[0] for cut in cuts]
        return self.compositor.patches(cuts) if cuts else []
