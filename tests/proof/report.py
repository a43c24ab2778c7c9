"""Rows of what was promised and what was seen, kept as JSON between runs and written as tables into docs/proof.md."""

from __future__ import annotations

import datetime as dt
import fcntl
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
    """One promise: ``held`` says whether it was kept, ``seen`` what was measured; ``trial`` is the attempt that it comes from (itself where empty): its rows are replaced together."""

    promise: str
    held: bool
    seen: str
    trial: str = ""


def keep(part: str, title: str, rows: list[Row]) -> None:
    """Lay a run's rows over those of earlier runs and write the page anew; what a run did not try stays as it was."""
    with (KEPT.parent / ".proof.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        tried = {r.trial or r.promise for r in rows}
        before = [Row(**r) for r in kept.get(part, {}).get("rows", []) if (r["trial"] or r["promise"]) not in tried]
        date = dt.datetime.now(dt.UTC).date().isoformat()
        merged = sorted([*before, *rows], key=lambda r: r.trial or r.promise)
        kept[part] = {"title": title, "date": date, "rows": [asdict(r) for r in merged]}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(HEAD + "".join(_table(kept[name]) for name in sorted(kept)), encoding="utf-8")


def _table(part: dict[str, object]) -> str:
    rows: list[dict[str, object]] = part["rows"]  # type: ignore[assignment]
    lines = [f"| {r['promise']} | {'yes' if r['held'] else '**no**'} | {r['seen']} |" for r in rows]
    return (
        f"\n## {part['title']}\n\nLast run: {part['date']}.\n\n| promise | held | seen |\n|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )
