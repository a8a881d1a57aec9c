"""Pickles that are damaged, or hold other arrays than those looked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from udh_core.errors import FormatError
from udh_core.weights import convert, unpickle


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 no pickle", pickle.dumps({"a": np.ones(3)}, 2)[:-20]])
def test_damaged_pickles_are_format_errors(raw: bytes) -> None:
    with pytest.raises(FormatError):
        unpickle.array_tree(raw)
    with pytest.raises(FormatError):
        convert.lpips_alex(raw or pickle.dumps({}))
    with pytest.raises(FormatError):
        convert.whisper_encoder(raw)
    with pytest.raises(FormatError):
        convert.silero_vad(raw)
