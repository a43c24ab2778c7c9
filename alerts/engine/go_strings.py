"""String literals as Go and Prometheus write them."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<o>[0-7]{3})|(?P<c>.))", re.DOTALL
)
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}  # fmt: skip


def unquoted(literal: str) -> str:
    """What a literal in double, single or back quotes stands for. Raises ValueError for an escape that there is not."""
    if literal[0] == "`":
        return literal[1:-1]

    def one(match: re.Match[str]) -> str:
        code = match["x"] or match["u"] or match["U"]
        if code or match["o"]:
            return chr(int(code, 16) if code else int(match["o"], 8))
        if match["c"] not in _ESCAPES:
            raise ValueError(f"the escape \\{match['c']} is not one of strings")
        return _ESCAPES[match["c"]]

    return _ESCAPE.sub(one, literal[1:-1])
