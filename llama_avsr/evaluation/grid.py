"""Tests on a grid: noise by SNR, and damaged pictures; which conditions they are, and their table.

A condition is the options that make one test out of an evaluation: label file, SNR, noise, damage.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.files import write_whole
from llama_avsr.evaluation.effort import EFFORT, together
from llama_avsr.evaluation.plots import CLEAN, wer_vs_snr
from llama_avsr.evaluation.report import Evaluation, finite, interval_in_words, markdown_table, summary
from llama_avsr.lightning.loggers import Panel
from llama_avsr.options import FIELDS, Options

FILE = "grid"
NOISES = ("white", "pink", "speaker")
SNRS_DB = (-5.0, 0.0, 5.0, 10.0)
PICTURES = ("blur", "patch", "freeze", "drop", "slow", "jpeg", "black")
BETWEEN = ("late", "early", "silent")
"""Damage that needs sound and picture."""
UNDAMAGED = "none"
LONG_COLUMNS = (
    *("label_file", "noise", "snr_db", "damage", "metric", "value", "low", "high", "num_clips"),
    *("real_time_factor", "device_seconds", "peak_memory_gib"),
)

Condition = dict[str, Any]


def conditions(options: Options, explicit: Collection[str]) -> list[Condition]:
    """The tests that the options ask for, each as options to update.

    Every test file, at every SNR, in every noise, with every damage; clean sound once for all noises. With
    --noise-grid damages are in clean sound alone, and lists that are not in `explicit` are filled.
    Raises ValueError for a damage that needs what the model does not take.
    """
    asked = options.augmentation
    hears, sees = "audio" in options.media, "video" in options.media
    snrs = list(asked.decode_snrs_db)
    noises: list[str | None] = list(asked.test_noise)
    damages = list(asked.test_damage)
    if asked.noise_grid:
        if "decode_snr_target" not in explicit:
            snrs = [None, *SNRS_DB]
        if "test_noise" not in explicit:
            noises = list(dict.fromkeys((*(asked.noise_file or ()), *NOISES)))
        if "test_damage" not in explicit:
            damages = [UNDAMAGED, *(PICTURES if sees else ()), *(BETWEEN if sees and hears else ())]
    _check(damages, hears, sees)
    sounds = [(None, snr) for snr in snrs if snr is None]
    sounds += [(noise, snr) for noise in noises or [None] for snr in snrs if snr is not None]
    if not hears:
        sounds = [(None, None)]
    pairs = [(sound, damage) for damage in damages for sound in dict.fromkeys(sounds)]
    if asked.noise_grid:
        whole = [pair for pair in pairs if pair[1] == UNDAMAGED]
        pairs = whole + [((None, None), damage) for damage in damages if damage != UNDAMAGED]
    return [
        {
            "test_file": (file,),
            "decode_snr_target": ("clean" if snr is None else snr,),
            "test_noise": () if noise is None else (noise,),
            "test_damage": (damage,),
            "noise_grid": False,
        }
        for file in options.data.test_file
        for (noise, snr), damage in pairs
    ]


def write(folder: Path, evaluations: Sequence[Evaluation]) -> Path:
    """`grid.csv`, `.json`, `.md`, `.tex` and, where there are several SNRs, `.png`; the folder of them."""
    write_whole(folder / f"{FILE}.csv", _csv(evaluations))
    summaries = [finite(summary(one)) for one in evaluations]
    write_whole(folder / f"{FILE}.json", json.dumps(summaries, indent=2, ensure_ascii=False) + "\n")
    write_whole(folder / f"{FILE}.md", markdown(evaluations) + "\n")
    write_whole(folder / f"{FILE}.tex", latex(evaluations))
    if curves := _curves(evaluations):
        wer_vs_snr(curves, folder / f"{FILE}.png")
    return folder


def panel(evaluations: Sequence[Evaluation], folder: Path) -> Panel:
    """For loggers. folder: where `write` has put the plot."""
    picture = folder / f"{FILE}.png"
    lines: dict[str, dict[float, float]] = {}
    for noise, curve in _curves(evaluations).items():
        lines[noise] = {snr: curve[snr][0] for snr in sorted(key for key in curve if key != CLEAN)}
    return Panel(
        name=FILE,
        header=LONG_COLUMNS,
        rows=[_long_row(one) for one in evaluations],
        markdown=markdown(evaluations),
        lines=lines,
        picture=picture if lines else None,
    )


@dataclass(frozen=True)
class Table:
    """Scores by noise and damage (rows) and SNR (columns), and what each row took."""

    header: list[str]
    rows: list[list[str]]


def table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each label file and noise, and one for each damage; the least noise first."""
    snrs = sorted({one.snr_db for one in evaluations}, key=lambda snr: float("-inf") if snr is None else -snr)
    # Without a name it is the noise of --noise-file.
    base = (
        "noise file" if any(one.snr_db is not None and one.noise is None for one in evaluations) else "clean"
    )
    cells: dict[tuple[str, str], dict[float | None, Evaluation]] = {}
    for one in evaluations:
        cells.setdefault((one.label_file, _row(one, base)), {})[one.snr_db] = one
    metric = evaluations[0].result.metric.upper()
    header = ["test set", metric, *("clean" if snr is None else f"{snr:g} dB" for snr in snrs), *EFFORT]
    rows = [
        [*names, *(_shown(row.get(snr)) for snr in snrs), *together([o.effort for o in row.values()]).cells()]
        for names, row in cells.items()
    ]
    return Table(header, rows)


def markdown(evaluations: Sequence[Evaluation]) -> str:
    found = table(evaluations)
    return markdown_table(found.header, found.rows)


def latex(evaluations: Sequence[Evaluation]) -> str:
    r"""A tabular with booktabs' rules, to be \input."""
    found = table(evaluations)
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (found.header, *found.rows)]
    columns = "ll" + "r" * (len(found.header) - 2)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}", ""])


def _check(damages: Sequence[str], hears: bool, sees: bool) -> None:
    for damage in damages:
        if damage == UNDAMAGED:
            continue
        if not sees or (damage in BETWEEN and not hears):
            needs = "sound and picture" if damage in BETWEEN else "a picture"
            raise ValueError(f"{FIELDS['test_damage'].flag} {damage} needs a model that takes {needs}")


def _shown(one: Evaluation | None) -> str:
    return interval_in_words(None if one is None else _point(one))


def _row(one: Evaluation, base: str) -> str:
    named = [one.noise, None if one.damage == UNDAMAGED else one.damage]
    return ", ".join(name for name in named if name is not None) or base


def _csv(evaluations: Sequence[Evaluation]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(LONG_COLUMNS)
    writer.writerows(["" if cell is None else cell for cell in _long_row(one)] for one in evaluations)
    return buffer.getvalue()


def _long_row(one: Evaluation) -> list[object]:
    """One cell for each of LONG_COLUMNS, None where there is nothing."""
    snr = one.snr_db
    if snr is not None and snr.is_integer():
        snr = int(snr)
    effort = one.effort
    return [
        *(one.label_file, one.noise, snr, one.damage, one.result.metric, *_point(one), len(one.ids)),
        *(effort.real_time_factor, effort.device_seconds, effort.peak_memory_gib),
    ]


def _curves(
    evaluations: Sequence[Evaluation],
) -> Mapping[str, Mapping[str | float, tuple[float, float, float]]]:
    """WER by SNR in each noise, clean speech in all of them; of undamaged pictures."""
    whole = [one for one in evaluations if one.damage == UNDAMAGED and one.result.metric == "wer"]
    files = list(dict.fromkeys(one.label_file for one in whole))
    curves: dict[str, dict[str | float, tuple[float, float, float]]] = {}
    for one in whole:
        if one.snr_db is not None:
            name = one.noise or "noise file"
            label = name if len(files) == 1 else f"{one.label_file}, {name}"
            curves.setdefault(label, {})[one.snr_db] = _point(one)
            for clean in whole:
                if clean.snr_db is None and clean.label_file == one.label_file:
                    curves[label][CLEAN] = _point(clean)
    return curves


def _point(one: Evaluation) -> tuple[float, float, float]:
    return (one.result.value, *one.result.interval)


def _escaped(text: str) -> str:
    for mark in "&%#_":
        text = text.replace(mark, f"\\{mark}")
    return text
