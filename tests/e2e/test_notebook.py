"""docs/demo.ipynb runs from top to bottom on what it makes itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow
NOTEBOOK = ROOT / "docs" / "demo.ipynb"
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")


def printed(cell: dict) -> str:
    return "".join(output.get("text", "") for output in cell["outputs"] if output["output_type"] == "stream")


def shown(cell: dict, kind: str) -> int:
    return sum(kind in output.get("data", {}) for output in cell["outputs"])


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("DEMO_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DEMO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DEMO_QUICK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parent}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    faults = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert faults == []
    whole = "\n".join(map(printed, cells))
    assert "3 test clips" in whole
    said, written = (re.search(rf"^{word} +(.*)$", whole, re.M)[1] for word in ("said", "written"))
    assert len(said.split()) == 6
    assert written
    assert re.search(r"^sound and lips +\{.*'clean': \d", whole, re.M)
    assert sum(shown(cell, "image/png") for cell in cells) == 3, "a clip, the losses, WER against noise"
    assert sum(shown(cell, "text/html") for cell in cells) == 1, "the babble, to listen to"


def test_what_the_notebook_shows_is_small_and_of_no_machine() -> None:
    """A code host shows the stored outputs."""
    assert NOTEBOOK.stat().st_size < 300_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(shown(cell, "image/png") for cell in cells) == 3
    assert not re.search(r"/(home|tmp|root|Users)/", "\n".join(map(printed, cells)))
