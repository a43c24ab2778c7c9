"""The generated pages under docs/ are what the catalogues say now."""

from pathlib import Path

import pytest

from klaxon.reference import pages

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("name", ["metrics.md", "alerts.md"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run `make docs`"
