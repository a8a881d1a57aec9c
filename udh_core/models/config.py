"""Configurations of networks, read from the JSON of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")
LARGEST = 1 << 16  # of the whole numbers in a configuration


def from_json(config: type[T], values: object) -> T:
    """A dataclass of whole numbers, numbers and tuples of whole numbers, of JSON, where tuples have become lists.

    ValueError naming what is missing, not known, or of another kind.
    """
    known = {field.name: field.default is MISSING for field in fields(config)}  # pyright: ignore[reportArgumentType]
    values = table(values, config.__name__)
    missing = [name for name, needed in known.items() if needed and name not in values]
    unknown = [name for name in values if name not in known]
    if missing or unknown:
        raise ValueError(f"{config.__name__} {'lacks' if missing else 'does not know'} {(missing or unknown)[0]}")
    kinds = get_type_hints(config)
    return config(**{name: _checked(f"{config.__name__}.{name}", kinds[name], v) for name, v in values.items()})


def table(values: object, name: str) -> Mapping[str, Any]:
    """The values, when they are a JSON object; else ValueError."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not there, or no table of values")
    return values


def whole(value: object, name: str) -> int:
    """The value, when it is a whole number that a network can be built with; else ValueError."""
    if type(value) is not int or not 0 < value <= LARGEST:
        raise ValueError(f"{name} is no whole number from 1 to {LARGEST}")
    return value


def _checked(name: str, kind: object, value: object) -> object:
    if kind is int:
        return whole(value, name)
    if kind is float:
        if type(value) not in (int, float) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
            raise ValueError(f"{name} is no number")
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{name} is no list of whole numbers")
    return tuple(whole(item, name) for item in value)
