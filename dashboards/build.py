"""Writes the boards: `python -m dashboards.build` makes the JSON beside this file and the page docs/panels.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dashboards.boards import ALL
from dashboards.panels import Board, Panel
from dashboards.render import to_json

ROOT = Path(__file__).parent.parent


def files() -> dict[str, str]:
    """Path from the project's root -> text of every generated file."""
    boards = {f"dashboards/{board.uid}.json": to_json(board) for board in ALL}
    return {**boards, "docs/panels.md": "\n".join(_page()) + "\n"}


def _page() -> Iterator[str]:
    yield "# Panels"
    yield ""
    yield "Made from `dashboards/` by `make dashboards`: every panel of the boards, what it says, and what it asks. [dashboards.md](dashboards.md) tells how to load them."
    for board in ALL:
        yield from ("", f"## {board.title}", "", f"{board.says} `dashboards/{board.uid}.json`")
        for section in board.sections:
            if section.title:
                yield from ("", f"### {section.title}")
            for panel in section.panels:
                yield from _panel(board, panel)


def _panel(board: Board, panel: Panel) -> Iterator[str]:
    name = panel.name.replace("$cluster", "Name of the cluster")
    yield from ("", f"**{name}**: {panel.says}", "", "```promql")
    yield from (query.expr for query in panel.queries)
    yield "```"


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).write_text(text, encoding="utf-8")
