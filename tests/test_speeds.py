"""The clip's speech at other speeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from udh_core import features, speeds
from udh_core.audio import load_waveform
from udh_core.avatar import open_avatar


def test_rows_at_other_speeds_stand_for_the_same_sounds(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    parts = list(speeds.hear(avatar, "mel80"))
    assert parts == sorted(parts) and parts[-1] == 1.0
    plain = features.extract(load_waveform(avatar.audio), "mel80").values
    loudness = plain.mean(1)
    for heard in speeds.heard(avatar, "mel80"):
        assert abs(len(heard.rows) - len(plain) / heard.speed) <= 2
        rows = np.clip(np.rint((np.arange(len(plain)) + 0.5) / heard.speed - 0.5).astype(int), 0, len(heard.rows) - 1)
        assert np.corrcoef(heard.rows[rows].mean(1), loudness)[0, 1] > 0.9
        late = np.roll(heard.rows[rows].mean(1), 20)
        assert np.corrcoef(late, loudness)[0, 1] < 0.8
