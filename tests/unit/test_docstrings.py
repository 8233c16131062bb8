"""Examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for package in ("llama_avsr", "datamodules", "preparation", "av_hubert")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text()
]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", map(module_of, FILES))
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert any(test.examples for test in doctest.DocTestFinder().find(module))
    assert doctest.testmod(module).failed == 0
