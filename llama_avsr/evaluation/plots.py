"""Figures for papers: word error rate against noise, and the course of a training.

Drawn without a display and without touching matplotlib's global state.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CLEAN = "clean"
# Okabe and Ito's palette without yellow, for colour-blind readers; in grey, markers tell lines apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "savefig.dpi": 200,
}
SIZE_INCHES = (5.2, 3.5)
MIN_SMOOTHED_POINTS = 30
_DODGE = 0.05
"""Shift between neighbouring lines, in steps of the SNR axis, so that their error bars stay apart."""

Curve = Mapping[str | float, tuple[float, float, float]]
"""SNR in dB, or "clean" -> (WER, low, high), percent."""


def wer_vs_snr(results: Mapping[str, Curve], path: Path, note: str | None = None) -> None:
    """Draw WER (%) against the noise's SNR (dB), a line per label, with 95 % intervals.

    Clean speech, if there, is the last category, set apart from the SNRs.

    note: printed below the axes. ValueError: nothing to draw.
    """
    wer_vs_snr_panels({"": results}, path, note)


def wer_vs_snr_panels(panels: Mapping[str, Mapping[str, Curve]], path: Path, note: str | None = None) -> None:
    """`wer_vs_snr` side by side on one scale: title (say, "seen voices") -> label -> curve.

    A label has the same colour in every panel.
    """
    curves = [curve for results in panels.values() for curve in results.values()]
    snrs = sorted({key for curve in curves for key in curve if key != CLEAN})
    clean = any(CLEAN in curve for curve in curves)
    if not snrs and not clean:
        raise ValueError(f"found no word error rate to draw in {path}; expected at least one per line")
    step = min(np.diff(snrs), default=5.0)
    clean_x = snrs[-1] + 1.3 * step if snrs else 0.0
    labels = list(dict.fromkeys(label for results in panels.values() for label in results))
    width, height = SIZE_INCHES
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * (1 + 0.6 * (len(panels) - 1)), height), layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, results) in zip(row, panels.items(), strict=True):
            for label, curve in results.items():
                index = labels.index(label)
                shift = _DODGE * step * (index - (len(labels) - 1) / 2)
                _draw_curve(axes, label, curve, index, shift, clean_x)
            _label_snrs(axes, snrs, clean_x if clean else None, step)
            axes.set_title(title, fontsize="medium")
        row[0].set_ylabel("Word error rate (%)")
        row[0].set_ylim(bottom=0)
        fullest = max(range(len(row)), key=lambda index: len(list(panels.values())[index]))
        row[fullest].legend()
        _save(figure, path, _with_intervals(note))


def wer_vs_tokens(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, tuple[float, float, float]]]]],
    path: Path,
    note: str | None = None,
) -> None:
    """Draw WER (%) with 95 % intervals against the tokens a second that the LLM reads, side by side.

    panels: title -> label -> (tokens a second, (WER, low, high)); a label of several points is a line.
    """
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    width, height = SIZE_INCHES
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * (1 + 0.6 * (len(panels) - 1)), height), layout="constrained")
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, lines) in zip(row, panels.items(), strict=True):
            for label, points in lines.items():
                index = labels.index(label)
                colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
                tokens = np.array([at for at, _ in sorted(points)])
                wer, low, high = np.array([rate for _, rate in sorted(points)]).T
                errors = np.clip([wer - low, high - wer], 0, None)
                axes.errorbar(tokens, wer, errors, fmt="none", ecolor=colour, elinewidth=1, capsize=2.5)
                axes.plot(tokens, wer, label=label, color=colour, marker=marker)
            axes.set_title(title, fontsize="medium")
            axes.set_xlabel("Speech tokens a second")
            axes.set_xlim(left=0)
        row[0].set_ylabel("Word error rate (%)")
        row[0].set_ylim(bottom=0)
        row[-1].legend()
        _save(figure, path, _with_intervals(note))


def loss_curve(
    metrics: Path | Mapping[str, Path],
    path: Path,
    columns: Sequence[str] | None = None,
    note: str | None = None,
) -> None:
    """Draw losses against the optimiser step, from `metrics.csv` as Lightning's CSVLogger writes it.

    A long series is drawn as its running mean over a faint line of its values; a short one (validation) as
    dashes and markers.

    metrics: one file, or label -> file.
    columns: names to draw; by default `*/loss` or, without such, all that end in `loss`.
    ValueError: a file without such a column or without values.
    """
    files = {"": metrics} if isinstance(metrics, Path) else metrics
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for index, (label, file) in enumerate(files.items()):
            for place, (column, (steps, values)) in enumerate(read_series(file, columns).items()):
                name = column.replace("_", " ").replace("/", " ")
                # One file: a colour for each column. Several: a colour for each file.
                colour = COLOURS[(index if label else place) % len(COLOURS)]
                _draw_series(axes, f"{label}, {name}" if label else name, steps, values, colour)
        axes.set_xlabel("Optimiser step")
        axes.set_ylabel("Loss (nats per target token)")
        axes.margins(x=0.02)
        axes.set_ylim(bottom=0)
        axes.legend()
        _save(figure, path, note)


def read_series(path: Path, columns: Sequence[str] | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(steps, values) of each column of a `metrics.csv`, without its blank cells. Both are [n] float64."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    wanted = _losses(names) if columns is None else list(columns)
    series = {}
    for name in wanted:
        points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if points:
            steps, values = np.array(points).T
            series[name] = (steps, values)
    if missing := [name for name in wanted if name not in series] or ([] if wanted else ["a loss"]):
        raise ValueError(
            f"{path}: found no values of {', '.join(missing)}; columns: {', '.join(names) or 'none'}"
        )
    return series


def _losses(names: Sequence[str]) -> list[str]:
    totals = [name for name in names if name.rpartition("/")[2] == "loss"]
    return totals or [name for name in names if name.endswith("loss")]


def _draw_curve(axes: Axes, label: str, curve: Curve, index: int, shift: float, clean_x: float) -> None:
    look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
    snrs = sorted(key for key in curve if key != CLEAN)
    keys = [*snrs, CLEAN] if CLEAN in curve else snrs
    x = np.array([clean_x if key == CLEAN else key for key in keys]) + shift
    wer, low, high = np.array([curve[key] for key in keys]).T
    errors = np.clip([wer - low, high - wer], 0, None)
    axes.errorbar(x, wer, errors, fmt="none", ecolor=look["color"], elinewidth=1, capsize=2.5)
    axes.plot(x[: len(snrs)], wer[: len(snrs)], label=label if snrs else None, **look)
    axes.fill_between(
        x[: len(snrs)], low[: len(snrs)], high[: len(snrs)], color=look["color"], alpha=0.12, lw=0
    )
    if CLEAN in curve:
        # Clean speech has no place on a dB axis: dots, not a line, lead to it.
        axes.plot(x[-2:], wer[-2:], linestyle=":", linewidth=1, color=look["color"])
        axes.plot(x[-1:], wer[-1:], linestyle="none", label=None if snrs else label, **look)


def _label_snrs(axes: Axes, snrs: Sequence[float], clean_x: float | None, step: float) -> None:
    ticks, names = list(snrs), [f"{snr:g}".replace("-", "\N{MINUS SIGN}") for snr in snrs]
    if clean_x is not None:
        ticks, names = [*ticks, clean_x], [*names, CLEAN]
        if snrs:
            axes.axvline((snrs[-1] + clean_x) / 2, color="#999999", linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xticks(ticks, names)
    axes.set_xlim(ticks[0] - step / 2, ticks[-1] + step / 2)
    axes.set_xlabel("Signal-to-noise ratio (dB)")


def _draw_series(axes: Axes, label: str, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    if len(values) < MIN_SMOOTHED_POINTS:
        axes.plot(steps, values, color=colour, marker="o", markersize=4, linestyle="--", label=label)
        return
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    reach = max(3, len(values) // 40)
    inside = slice(reach // 2, len(values) - reach // 2)
    axes.plot(steps[inside], running_mean(values, reach)[inside], color=colour, label=label)


def running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean over up to `reach` neighbours on either side; near the ends fewer, equally many. [n] -> [n]"""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    half = np.minimum(reach, np.minimum(centre, len(values) - 1 - centre))
    return (sums[centre + half + 1] - sums[centre - half]) / (2 * half + 1)


def _with_intervals(note: str | None) -> str:
    return "Bars and bands: 95 % bootstrap intervals." + (f" {note}" if note else "")


def _save(figure: Figure, path: Path, note: str | None) -> None:
    if note:
        figure.supxlabel(note, fontsize=7, color="#555555", wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        figure.savefig(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
