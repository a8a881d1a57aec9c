"""Options are declared once, as fields of a frozen dataclass: default, help, range. Commands and nodes quote them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from .errors import OptionError

T = TypeVar("T")
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What is said about one option."""

    name: str
    default: Any
    help: str  # a sentence for people
    least: float | None = None
    most: float | None = None
    step: float | None = None  # of a widget
    choices: tuple[Any, ...] = ()


def option(
    default: T,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    step: float | None = None,
    choices: Sequence[Any] = (),
) -> T:
    """A dataclass field that is an option. None, where it is the default, is always allowed: it means "not given"."""
    said = Option("", default, help, least, most, step, tuple(choices))
    return field(default=default, metadata={_KEY: said})


def required(help: str) -> Any:  # noqa: ANN401 (a field of any type)
    """A dataclass field that has to be given."""
    return field(metadata={_KEY: Option("", MISSING, help)})


def described(options: type, name: str) -> Option:
    """What the dataclass says about this option; KeyError when it has none of that name."""
    for one in fields(options):
        if one.name == name and _KEY in one.metadata:
            said: Option = one.metadata[_KEY]
            default = said.default if one.default is MISSING else one.default
            return Option(name, default, said.help, said.least, said.most, said.step, said.choices)
    raise KeyError(f"{options.__name__} has no option {name}")


def check(options: Any) -> None:  # noqa: ANN401 (any dataclass)
    """OptionError naming option, value and remedy when a value is not among the choices or out of its range."""
    for one in fields(options):
        said: Option | None = one.metadata.get(_KEY)
        value = getattr(options, one.name)
        if said is None or (value is None and said.default is None):
            continue
        if said.choices and value not in said.choices:
            raise OptionError(f"`{one.name}` = {value}: choose {', '.join(map(str, said.choices))}")
        if said.least is None and said.most is None:
            continue
        if not isinstance(value, int | float) or not math.isfinite(value) or not _within(value, said):
            raise OptionError(f"`{one.name}` = {value}: choose {range_of(said)}")


def _within(value: float, said: Option) -> bool:
    return (said.least is None or value >= said.least) and (said.most is None or value <= said.most)


def range_of(said: Option) -> str:
    """In words: "from 1 to 9"."""
    if said.most is None:
        return f"{said.least:g} or more"
    return f"{said.most:g} or less" if said.least is None else f"from {said.least:g} to {said.most:g}"
