"""Values that are made anew only when what they were made of is another object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """Keeps the last value under each key, with the inputs that it was made of."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def once(self, key: str, inputs: tuple[Any, ...], make: Callable[[], T]) -> T:
        """``make()``, again only when one of the inputs is another object than last time."""
        known = self._made.get(key)
        if (
            known is not None
            and len(known[0]) == len(inputs)
            and all(a is b for a, b in zip(known[0], inputs, strict=True))
        ):
            return known[1]  # type: ignore[no-any-return]
        made = make()
        self._made[key] = (inputs, made)
        return made
