"""Evaluating again what a results folder says of itself, and saying what came out differently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_avsr.evaluation import origin
from llama_avsr.evaluation.hypotheses import read
from llama_avsr.evaluation.report import SUMMARY_FILE
from llama_avsr.evaluation.run import evaluate
from llama_avsr.options import FIELDS, Options, defaults

AGAIN = "again"
SCORES = ("wer", "cer", "bleu", "chrf")
MAX_NAMED = 5


def reproduce(folder: Path, changes: Mapping[str, Any], output_dir: Path | None = None) -> list[str]:
    """Evaluate again, into a folder of its own; a line for everything that differs.

    changes: options that say where things lie here (root_dir, noise_file, ...).
    output_dir: by default `again` in `folder`.
    """
    before = origin.read(folder)
    options = again(before, changes).updated({"output_dir": output_dir or folder / AGAIN})
    unset = defaults("eval")
    explicit = {
        name
        for name, field in FIELDS.items()
        if field.scope.counts_in("eval") and options[name] != unset[name]
    }
    (new,) = evaluate(options, explicit)
    return [
        *origin.differences(before, origin.read(new)),
        *differing_scores(folder, new),
        *differing_hypotheses(folder, new),
    ]


def again(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Options:
    """The options of a result, with some changed. Raises ValueError for values that are none."""
    saved = {name: value for group in before["options"].values() for name, value in group.items()}
    kept = {
        name: value
        for name, value in saved.items()
        if name in FIELDS and FIELDS[name].scope.counts_in("eval")
    }
    values = {name: FIELDS[name].convert(value, f"saved option {name}") for name, value in kept.items()}
    return defaults("eval").updated({**values, "pretrained_model_path": before["model"], **changes})


def differing_scores(before: Path, after: Path) -> list[str]:
    old, new = (json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8")) for folder in (before, after))
    return [
        f"{name}: {old.get(name)} before, {new.get(name)} now"
        for name in SCORES
        if old.get(name) != new.get(name)
    ]


def differing_hypotheses(before: Path, after: Path) -> list[str]:
    old, new = read(before), read(after)
    texts = dict(zip(old.keys, old.hypotheses, strict=True))
    changed = [
        key[0] for key, text in zip(new.keys, new.hypotheses, strict=True) if texts.get(key, text) != text
    ]
    lines = []
    if changed:
        named = ", ".join(changed[:MAX_NAMED]) + ", ..." * (len(changed) > MAX_NAMED)
        lines.append(f"hypotheses: {len(changed)} of {len(new.ids)} clips were written differently ({named})")
    if others := set(old.keys) ^ set(new.keys):
        lines.append(f"clips: {len(others)} are in only one of the two test lists")
    return lines
