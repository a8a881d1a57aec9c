"""Configurations of networks and trainings: to the JSON of a checkpoint, and from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
C = TypeVar("C", bound="Config")
LARGEST = 1 << 16  # of the whole numbers in a configuration


@dataclass(frozen=True)
class Config:
    """A dataclass whose fields are whole numbers, numbers, tuples of either, or other configurations or None."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is None is left out."""
        return asdict(self, dict_factory=_given)

    @classmethod
    def from_dict(cls: type[C], values: object) -> C:
        """From JSON, where tuples have become lists. What an older file does not name has its default.

        ValueError naming what is missing, not known, or of another kind.
        """
        return _from_json(cls, values)


def _from_json(config: type[T], values: object) -> T:
    needed = {
        field.name: field.default is MISSING and field.default_factory is MISSING
        for field in fields(config)  # pyright: ignore[reportArgumentType]
    }
    values = _table(values, config.__name__)
    missing = [name for name, is_needed in needed.items() if is_needed and name not in values]
    unknown = [name for name in values if name not in needed]
    if missing:
        raise ValueError(f"{config.__name__} lacks {missing[0]}")
    if unknown:
        raise ValueError(f"{config.__name__} does not know {unknown[0]}")
    kinds = get_type_hints(config)
    return config(**{name: _checked(f"{config.__name__}.{name}", kinds[name], v) for name, v in values.items()})


def _given(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not None}


def _table(values: object, name: str) -> Mapping[str, Any]:
    """The values, when they are a JSON object; else ValueError."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is not there, or no table of values")
    return values


def _checked(name: str, kind: Any, value: object) -> object:  # noqa: ANN401 (any type)
    if get_origin(kind) is UnionType:  # a configuration or None
        return None if value is None else _checked(name, get_args(kind)[0], value)
    if is_dataclass(kind) and isinstance(kind, type):
        return _from_json(kind, value)
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{name} is no list of {'whole ' if inner is int else ''}numbers")
        return tuple(_checked(name, inner, item) for item in value)
    return _whole(value, name) if kind is int else _number(value, name)


def _whole(value: object, name: str) -> int:
    """The value, when it is a whole number that a network can be built with; else ValueError."""
    if type(value) is not int or not 0 < value <= LARGEST:
        raise ValueError(f"{name} is no whole number from 1 to {LARGEST}")
    return value


def _number(value: object, name: str) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is no number")
    return value
