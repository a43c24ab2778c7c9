"""What a person needs of a node's log when the node has ended: its last errors, then its last lines."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_LINES = 15
ERRORS = 3
LINES_PER_ERROR = 8
# A broken start ends in hundreds of lines about its shutdown; the cause stands far above.
_START_OF_RECORD = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:,]+\] (?P<level>[A-Z]+) ")


def read(path: Path) -> list[str]:
    """The lines of a log file; none when it does not exist yet."""
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def summary(lines: list[str]) -> str:
    """The last ERROR and FATAL records with the beginning of their stack traces, then the last lines of all."""
    head = max(0, len(lines) - TAIL_LINES)
    errors = [line for record in _errors(lines[:head])[-ERRORS:] for line in record[:LINES_PER_ERROR]]
    return "".join(f"{line}\n" for line in (*errors, *lines[head:]))


def _errors(lines: list[str]) -> list[list[str]]:
    records: list[list[str]] = []
    inside = False
    for line in lines:
        if start := _START_OF_RECORD.match(line):
            inside = start["level"] in ("ERROR", "FATAL")
            if inside:
                records.append([])
        if inside:
            records[-1].append(line)
    return records
