"""What is compared: results folders, folders of them, files of hypotheses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from llama_avsr.checkpoints.run_folder import AVERAGE, RESULTS
from llama_avsr.evaluation.hypotheses import Texts, read
from llama_avsr.evaluation.report import HYPOTHESES_FILE, SUMMARY_FILE


def read_conditions(paths: Sequence[Path]) -> tuple[dict[str, list[Texts]], list[str]]:
    """Condition -> what each system wrote, for the conditions that all have; and notes.

    A run, or a folder of results folders, has a condition for each of these, known by its name.
    Raises ValueError where nothing can be compared.
    """
    found = [_conditions(path) for path in paths]
    shared = [name for name in found[0] if all(name in one for one in found)]
    if not shared:
        has = [f"{path}: {', '.join(one) or 'one result'}" for path, one in zip(paths, found, strict=True)]
        raise ValueError(f"found no condition that all were tested under ({'; '.join(has)})")
    notes = []
    for path, one in zip(paths, found, strict=True):
        if others := [name for name in one if name not in shared]:
            notes.append(f"{path}: {', '.join(others)} left out, which not all were tested under")
    for name in shared:
        notes += _unlike([one[name] for one in found])
    told = _told_apart(shared)
    return {told[name]: [read(one[name]) for one in found] for name in shared}, notes


def _conditions(path: Path) -> dict[str, Path]:
    if not path.is_dir() or (path / HYPOTHESES_FILE).is_file():
        return {"": path}
    average = path / RESULTS / AVERAGE  # of a run
    folder = average if average.is_dir() else path
    inside = {file.parent.name: file.parent for file in sorted(folder.glob(f"*/{HYPOTHESES_FILE}"))}
    if not inside:
        raise ValueError(
            f"{path}: found no {HYPOTHESES_FILE}, here or in a folder of it; expected results or a run"
        )
    return inside


def _told_apart(names: Sequence[str]) -> dict[str, str]:
    """`test_0dB` beside `test` is `0dB`."""
    shortest = min(names, key=len)
    return {name: name.removeprefix(shortest).lstrip("_") or name for name in names}


def _unlike(paths: Sequence[Path]) -> list[str]:
    """A note where results say that they were decoded at different SNRs."""
    snrs = {}
    for path in paths:
        file = path / SUMMARY_FILE
        if file.is_file():
            snr = json.loads(file.read_text(encoding="utf-8")).get("snr_db")
            snrs[path] = "clean" if snr is None else f"{snr:g} dB"
    if len(set(snrs.values())) < 2:
        return []
    return [f"at different SNRs: {', '.join(f'{path} {snr}' for path, snr in snrs.items())}"]
