"""Rows of what was promised and what was seen, kept as JSON between runs and written as tables into docs/proof.md."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
KEPT = ROOT / "docs" / "proof.json"
PAGE = ROOT / "docs" / "proof.md"

HEAD = """# What was proven on real brokers

Written by `make proof` (one part: `make proof PROOF_ARGS=faults`). Each row is one promise with what the last run saw.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise: ``held`` says whether it was kept, ``seen`` what was measured."""

    promise: str
    held: bool
    seen: str


def keep(part: str, title: str, rows: list[Row]) -> None:
    """Replace one part's rows and write the page anew."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept[part] = {"title": title, "date": dt.datetime.now(dt.UTC).date().isoformat(), "rows": [asdict(r) for r in rows]}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(HEAD + "".join(_table(kept[name]) for name in sorted(kept)))


def _table(part: dict[str, object]) -> str:
    rows: list[dict[str, object]] = part["rows"]  # type: ignore[assignment]
    lines = [f"| {r['promise']} | {'yes' if r['held'] else '**no**'} | {r['seen']} |" for r in rows]
    return (
        f"\n## {part['title']}\n\nLast run: {part['date']}.\n\n| promise | held | seen |\n|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )
