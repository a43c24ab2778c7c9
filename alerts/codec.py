"""Turns frozen dataclasses (those of alerts/model.py above all) into JSON and back, by their type hints; what comes back equals what went in."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_SPECIAL = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
"""JSON has no such numbers: they stand as strings."""


class CodecError(ValueError):
    """Text that is not the JSON of the wanted type; ``type_name`` is that type."""

    def __init__(self, type_name: str, reason: str) -> None:
        super().__init__(f"not a stored {type_name}: {reason}")
        self.type_name = type_name


def dumps(value: Any) -> str:
    """A dataclass as compact JSON text, keys in the order of its fields."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def loads(cls: type[T], text: str | bytes) -> T:
    """The dataclass that ``dumps`` wrote; fields that the text lacks take their defaults, unknown ones are ignored (a newer version wrote them)."""
    try:
        made: T = _typed(cls, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CodecError(cls.__name__, str(error)) from error
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    return value


def _typed(hint: Any, data: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _typed_union(get_args(hint), data)
    if origin is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is ...:
            return tuple(_typed(args[0], item) for item in data)
        return tuple(_typed(arg, item) for arg, item in zip(args, data, strict=True))
    if origin is frozenset:
        return frozenset(_typed(get_args(hint)[0], item) for item in data)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _typed(get_args(hint)[1], item) for key, item in data.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = _hints(hint)
        return hint(**{name: _typed(hints[name], item) for name, item in data.items() if name in hints})
    if hint is float:
        return _SPECIAL[data] if isinstance(data, str) else float(data)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(data)
    if isinstance(hint, type) and not isinstance(data, hint):
        raise TypeError(f"{data!r} is not of type {hint.__name__}")
    return data


def _typed_union(args: tuple[Any, ...], data: Any) -> Any:
    if data is None:
        if type(None) in args:
            return None
        raise TypeError("null where a value is needed")
    (wanted,) = (arg for arg in args if arg is not type(None))
    return _typed(wanted, data)


@lru_cache(maxsize=64)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
