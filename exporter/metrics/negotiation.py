"""What a scraper asks for by its headers: the format of the page and its compression (RFC 9110 12.4, 12.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    """The formats of the page, each with its content type. Every name of the catalogue is legal in both, so a scraper's ``escaping`` changes nothing."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


_TEXT_VERSIONS: Final = frozenset({"", "0.0.4"})
_OPENMETRICS_VERSIONS: Final = frozenset({"", "1.0.0"})


def negotiated(accept: str) -> Format:
    """OpenMetrics 1.0.0 where the header ``Accept`` names it with at least the weight of text 0.0.4, text for everyone else."""
    text = openmetrics = 0.0
    for media, parameters in _elements(accept):
        version = parameters.get("version", "").strip('"')
        if media == "application/openmetrics-text" and version in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, _weight(parameters))
        elif media == "text/plain" and version in _TEXT_VERSIONS:
            text = max(text, _weight(parameters))
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


def gzip_accepted(accept_encoding: str) -> bool:
    """Whether the header ``Accept-Encoding`` names gzip; a weight of 0 forbids it."""
    return any(
        coding in ("gzip", "x-gzip") and _weight(parameters) > 0 for coding, parameters in _elements(accept_encoding)
    )


def _elements(header: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each element of a list with its parameters, all in lower case."""
    for part in header.lower().split(","):
        name, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        yield name, {key.strip(): value.strip() for key, _, value in pairs}


def _weight(parameters: Mapping[str, str]) -> float:
    """0 to 1; a weight that is no number counts as none at all."""
    try:
        return min(1.0, max(0.0, float(parameters.get("q", "1"))))
    except ValueError:
        return 0.0
