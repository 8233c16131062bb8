"""What the evaluations of a demo have left: word error rates by condition, and errors by class of word."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.evaluation.metrics import aligned
from llama_avsr.evaluation.report import HYPOTHESES_FILE, SUMMARY_FILE, Interval, markdown_table


def read_rates(run: Path, name: str) -> dict[str | float, Interval]:
    """Condition ("clean", SNR in dB) -> WER and its interval, of a run's average on a label file.

    name: the label file's, without suffix; with `_shuffled`, the control's.
    """
    rates = {}
    for file in (run / "results" / "average").glob(f"{name}*/{SUMMARY_FILE}"):
        summary = json.loads(file.read_text())
        snr_db = summary["snr_db"]
        # Others are the control's, or those of a grid of noises and damages.
        if file.parent.name == (name if snr_db is None else f"{name}_{snr_db:g}dB"):
            rates["clean" if snr_db is None else snr_db] = (summary["wer"], *summary["wer_interval_95"])
    return rates


@dataclass
class ClassErrors:
    """Errors on the words of one class."""

    words: int = 0
    wrong: int = 0
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(said, written), "" where nothing was written."""

    @property
    def rate(self) -> float:
        """Percent."""
        return 100 * self.wrong / max(1, self.words)


def errors_by_class(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> dict[str, ClassErrors]:
    """Count the words of each class that were lost or taken for others; insertions count nowhere.

    pairs: references and hypotheses of sentences of as many words as there are classes, the n-th word of the
        n-th class.
    """
    found = {name: ClassErrors() for name in classes}
    for reference, hypothesis in pairs:
        columns = [column for column in aligned(reference, hypothesis) if column[0]]
        if len(columns) != len(classes):
            continue
        for errors, (said, written, kind) in zip(found.values(), columns, strict=True):
            errors.words += 1
            if kind:
                errors.wrong += 1
                errors.confusions[said, written] += 1
    return found


def class_table(errors: Mapping[str, ClassErrors], most: int = 4) -> str:
    """A line a class, as Markdown: the most frequent confusions, words, the share that is wrong."""
    rows = [
        (name, _confusions(found, most), str(found.words), f"{found.rate:.1f} %")
        for name, found in errors.items()
    ]
    return markdown_table(("class", "most often (said: written)", "words", "wrong"), rows)


def _confusions(errors: ClassErrors, most: int) -> str:
    common = errors.confusions.most_common(most)
    return ", ".join(f"{said}: {written or '-'} {count}x" for (said, written), count in common) or "-"


def read_pairs(run: Path, name: str) -> list[tuple[str, str]]:
    """References and hypotheses of an evaluation."""
    path = run / "results" / "average" / name / HYPOTHESES_FILE
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["reference"], row["hypothesis"]) for row in csv.DictReader(file)]
