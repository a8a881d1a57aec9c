"""Options of preparing that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from udh_core.avatar.options import PrepareOptions
from udh_core.errors import OptionError


@pytest.mark.parametrize("size", [100, 64])
def test_wrong_options(size: int) -> None:
    with pytest.raises(OptionError, match=f"`crop_px` = {size}: choose"):
        PrepareOptions(size)


@pytest.mark.parametrize(
    ("name", "value"),
    [("start_s", -1.0), ("start_s", np.inf), ("duration_s", 0.0), ("duration_s", np.inf), ("max_gap_s", -1.0),
     ("max_gap_s", np.nan), ("face_index", -1)],
)  # fmt: skip
def test_wrong_choice(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=rf"`{name}` = {value}: choose .*(or more|to)"):
        PrepareOptions(**{name: value})
