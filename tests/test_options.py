"""Options declared once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from udh_core.errors import OptionError
from udh_core.options import check, described, option


@dataclass(frozen=True)
class Cooking:
    """Options of a made-up work."""

    minutes: float | None = option(None, "How long.", least=0.1)
    heat: int = option(3, "How hot.", least=1, most=9, step=1)
    kind: str = option("soup", "What it becomes.", choices=("soup", "stew"))
    note: str = ""

    def __post_init__(self) -> None:
        check(self)


def test_defaults_are_allowed_and_quoted() -> None:
    assert Cooking() == Cooking(None, 3, "soup", "")
    heat = described(Cooking, "heat")
    assert (heat.name, heat.default, heat.help, heat.least, heat.most, heat.step) == ("heat", 3, "How hot.", 1, 9, 1)
    assert described(Cooking, "kind").choices == ("soup", "stew")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"heat": 10}, "`heat` = 10: choose from 1 to 9"),
        ({"heat": 0}, "`heat` = 0"),
        ({"heat": None}, "`heat` = None"),
        ({"heat": "hot"}, "`heat` = hot"),
        ({"minutes": 0}, "`minutes` = 0: choose 0.1 or more"),
        ({"minutes": math.nan}, "`minutes` = nan"),
        ({"minutes": math.inf}, "`minutes` = inf"),
        ({"kind": "cake"}, "`kind` = cake: choose soup, stew"),
    ],
)
def test_what_is_out_of_range_is_named_with_its_range(wrong: dict, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        Cooking(**wrong)
    assert words in str(caught.value)


def test_what_is_no_option_is_not_described() -> None:
    for name in ("note", "salt"):
        with pytest.raises(KeyError):
            described(Cooking, name)
