"""A comparison to read, and to keep: the screen, `comparison.json`, `changed.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodules.files import write_whole
from llama_avsr.evaluation.comparison.compare import Comparison
from llama_avsr.evaluation.comparison.statistics import Difference
from llama_avsr.evaluation.report import finite, side_by_side

COMPARISON_FILE = "comparison.json"
CHANGED_FILE = "changed.csv"


def screen(
    comparisons: Sequence[Comparison],
    sources: Mapping[str, str],
    normalisation: str,
    notes: Sequence[str] = (),
    num_shown: int = 3,
) -> str:
    """Verdicts, what they rest on, and the clips that changed most.

    sources: name -> path of each system.
    """
    lines = [f"{name}  {source}" for name, source in sources.items()]
    lines.append(f"{comparisons[0].metric.title}, normalisation: {normalisation}")
    for one in comparisons:
        where = f"{one.condition}: " if one.condition else ""
        lines += ["", f"{where}{one.verdict()}", *(f"  {line}" for line in _grounds(one))]
        for place in one.changed[:num_shown]:
            lines += _changed(one, place)
    if len({one.condition for one in comparisons}) > 1:
        lines += ["", *_summary(comparisons)]
    return "\n".join([*lines, *(f"note  {note}" for note in notes)])


def write(
    folder: Path,
    comparisons: Sequence[Comparison],
    sources: Mapping[str, str],
    normalisation: str,
    notes: Sequence[str],
) -> None:
    """Write `comparison.json` and `changed.csv`, each whole or not at all."""
    found = {
        "systems": dict(sources),
        "metric": comparisons[0].metric.title,
        "normalisation": normalisation,
        "comparisons": [_as_dict(one) for one in comparisons],
        "notes": list(notes),
    }
    text = json.dumps(finite(found), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / COMPARISON_FILE, text + "\n")
    write_whole(folder / CHANGED_FILE, _changed_csv(comparisons))


def _grounds(one: Comparison) -> list[str]:
    title, unit = one.metric.title, "" if one.metric.title == "BLEU" else " %"
    scores = ", ".join(f"{name} {score:.2f}{unit}" for name, score in zip(one.names, one.scores, strict=True))
    lines = [
        f"{title}: {scores}; {len(one.ids)} clips",
        f"paired bootstrap over clips {_interval(one.by_clip)}",
    ]
    if one.by_speaker is not None:
        lines.append(f"paired bootstrap over speakers {_interval(one.by_speaker)}")
    if one.p_segments is not None:
        lines.append(f"matched pairs of segments p = {one.p_segments:.3f}")
    gains = one.gains[one.changed]
    lines.append(
        f"{len(gains)} clips changed: {(gains > 0).sum()} better in {one.names[1]}, "
        f"{(gains < 0).sum()} worse, {(gains == 0).sum()} neither"
    )
    return lines


def _interval(one: Difference) -> str:
    return f"[{one.low:+.2f}, {one.high:+.2f}], p = {one.p:.3f}"


def _changed(one: Comparison, place: int) -> list[str]:
    lines = [f"  {one.ids[place]}: {one.names[1]} {one.gains[place]:+d}"]
    for name, texts in zip(one.names, one.texts, strict=True):
        lines += [f"    {name}", *side_by_side(one.references[place], texts[place], indent="      ")]
    return lines


def _summary(comparisons: Sequence[Comparison]) -> list[str]:
    """A line per pair of systems: under which conditions which one is better."""
    lines = []
    for names in dict.fromkeys(one.names for one in comparisons):
        own = [one for one in comparisons if one.names == names]
        parts = [
            f"{name} is better in {', '.join(where)}"
            for which, name in enumerate(names)
            if (where := [one.condition for one in own if one.is_claimed and one.better == which])
        ]
        if where := [one.condition for one in own if not one.is_claimed]:
            parts.append(f"no difference can be claimed in {', '.join(where)}")
        lines.append(f"{names[0]} and {names[1]}: {'; '.join(parts)}")
    return lines


def _as_dict(one: Comparison) -> dict[str, object]:
    return {
        "condition": one.condition,
        "systems": list(one.names),
        "scores": list(one.scores),
        "difference": one.difference,
        "interval_95": [one.interval.low, one.interval.high],
        "p": one.p,
        "is_claimed": one.is_claimed,
        "verdict": one.verdict(),
        "by_clip": vars(one.by_clip),
        "by_speaker": None if one.by_speaker is None else vars(one.by_speaker),
        "p_matched_pairs": one.p_segments,
        "num_clips": len(one.ids),
        "num_changed": len(one.changed),
    }


def _changed_csv(comparisons: Sequence[Comparison]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["condition", "first", "second", "id", "gain", "reference", "first_hypothesis", "second_hypothesis"]
    )
    for one in comparisons:
        for place in one.changed:
            texts = [texts[place] for texts in one.texts]
            row = [one.condition, *one.names, one.ids[place], one.gains[place], one.references[place], *texts]
            writer.writerow(row)
    return buffer.getvalue()
