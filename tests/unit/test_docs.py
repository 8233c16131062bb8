"""What the documentation points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("llama_avsr/*/*/*.md"))
    if path.parts[len(ROOT.parts)] not in (".venv", "runs")
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
FILE = re.compile(
    r"`((?:llama_avsr|av_hubert|datamodules|preparation|benchmarks|tests|recipes)/[\w/.-]+\.\w+)`"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    files = [
        file
        for file in FILE.findall(text)
        if not ((ROOT / file).exists() or (ROOT / "recipes" / file).exists())
    ]
    assert (links, files) == ([], [])


def test_there_are_pages() -> None:
    assert {"README.md", "docs/grid.md"} <= {str(page.relative_to(ROOT)) for page in PAGES}
