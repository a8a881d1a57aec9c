"""No network at run time: the whole chain in processes that get an error for every connection they try to open."""

from __future__ import annotations

import children
import pytest
from machine import Forks, Made

COMMANDS = ("prepare", "train-syncnet", "train", "evaluate", "export", "render")


@pytest.mark.parametrize("command", COMMANDS)
def test_needs_no_network(made: Made, command: str) -> None:
    assert made.ended[command].code == 0, made.ended[command].text


def test_a_connection_would_have_been_an_error(forks: Forks) -> None:
    forks.run(children.connect)
