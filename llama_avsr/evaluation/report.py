"""What an evaluation leaves behind: `hypotheses.csv` and `summary.json` in a folder, and a report to read."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datamodules.batch import VIDEO_FPS
from datamodules.files import write_whole
from datamodules.languages import Direction, show_direction
from llama_avsr.evaluation.breakdown import by_length, by_speaker
from llama_avsr.evaluation.effort import EFFORT, Effort
from llama_avsr.evaluation.metrics import ZERO_WIDTH, Result, aligned
from llama_avsr.evaluation.normalisation import NONE, Normalisation

HYPOTHESES_FILE = "hypotheses.csv"
SUMMARY_FILE = "summary.json"
ORIGIN_FILE = "origin.json"
NBEST_FILE = "nbest.jsonl"
PACKAGES = ("torch", "transformers", "peft", "pytorch-lightning", "jiwer", "sacrebleu", "av")
LINE_WIDTH = 100

Interval = tuple[float, float, float]
"""A rate with the ends of its 95 % interval, percent."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One test set, decoded once by one model."""

    ids: Sequence[str]
    references: Sequence[str]
    hypotheses: Sequence[str]
    result: Result
    model: str
    label_file: str
    speech_seconds: float
    decode_seconds: float
    """Wall time of the decoding."""
    device: str | None = None
    """What decoded: the name of a GPU, or of a processor."""
    num_devices: int = 1
    """GPUs, or machines without one."""
    peak_memory_gib: float | None = None
    """Of the fullest process: tensors on its GPU or, without one, what it occupied after each batch."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Which weights exactly: checksum, revision on the hub."""
    snr_db: float | None = None
    """None: clean."""
    noise: str | None = None
    """Its name; None for that of --noise-file, and where there is none."""
    damage: str = "none"
    """What was done to the picture."""
    decoding: Mapping[str, object] = field(default_factory=dict)
    """Beams, tokens, batch size, ..."""
    directions: Sequence[Direction] = ()
    """Spoken and written language of each clip; may be left out."""
    speakers: Sequence[str] | None = None
    """Of each clip, where the ids say so."""
    normalisation: Normalisation = NONE
    """What was done to the texts before they were compared."""
    seconds: Sequence[float] = ()
    """Length of each clip; may be left out."""
    tokens_per_frame: float | None = None
    """Speech tokens that the LLM read for each 25 Hz frame."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.references) == len(self.hypotheses):
            raise ValueError(
                f"found {len(self.ids)} ids, {len(self.references)} references and {len(self.hypotheses)} "
                "hypotheses; expected as many of each"
            )
        if self.seconds and len(self.seconds) != len(self.ids):
            raise ValueError(f"found {len(self.seconds)} lengths for {len(self.ids)} clips")
        if self.directions and len(self.directions) != len(self.ids):
            raise ValueError(f"found {len(self.directions)} directions for {len(self.ids)} clips")

    @property
    def condition(self) -> str:
        """`clean`, `0 dB`, `0 dB white, blur`"""
        sound = "clean" if self.snr_db is None else f"{self.snr_db:g} dB"
        sound += f" {self.noise}" if self.noise else ""
        return sound if self.damage == "none" else f"{sound}, {self.damage}"

    @property
    def clips_by_direction(self) -> dict[str, int]:
        """Number of clips of `en`, `en-es`, ..."""
        return dict(Counter(map(show_direction, self.directions)))

    @property
    def effort(self) -> Effort:
        return Effort(
            speech_seconds=self.speech_seconds,
            decode_seconds=self.decode_seconds,
            device_seconds=self.num_devices * self.decode_seconds,
            peak_memory_gib=self.peak_memory_gib,
        )


def write(folder: Path, evaluation: Evaluation) -> None:
    """Write `hypotheses.csv` and `summary.json` into `folder`, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / HYPOTHESES_FILE, _hypotheses_csv(evaluation))
    text = json.dumps(finite(summary(evaluation)), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / SUMMARY_FILE, text + "\n")


def summary(evaluation: Evaluation) -> dict[str, object]:
    """Everything but the clips: the scores, what was decoded, how and how fast, with which versions."""
    found: dict[str, object] = {
        "metric": evaluation.result.metric,
        "normalisation": evaluation.normalisation.said,
        **evaluation.result.details(),
        "num_clips": len(evaluation.ids),
        "speech_hours": evaluation.speech_seconds / 3600,
        "model": evaluation.model,
        "weights": dict(evaluation.provenance),
        "label_file": evaluation.label_file,
        "snr_db": evaluation.snr_db,
        "noise": evaluation.noise,
        "damage": evaluation.damage,
        "decoding": dict(evaluation.decoding),
        "decode_seconds": evaluation.decode_seconds,
        "real_time_factor": evaluation.effort.real_time_factor,
        "device": evaluation.device,
        "num_devices": evaluation.num_devices,
        "device_seconds": evaluation.effort.device_seconds,
        "peak_memory_gib": evaluation.peak_memory_gib,
        "notes": list(evaluation.result.notes),
        "versions": versions(),
    }
    if lengths := by_length(evaluation.result):
        found["by_length"] = [asdict(share) for share in lengths]
    if speakers := by_speaker(evaluation.result, evaluation.speakers):
        found["by_speaker"] = [asdict(share) for share in speakers]
    if evaluation.directions:
        found["directions"] = evaluation.clips_by_direction
    if evaluation.tokens_per_frame is not None:
        found["tokens_per_frame"] = evaluation.tokens_per_frame
    return found


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def screen(evaluation: Evaluation, num_worst: int = 5, num_samples: int = 5) -> str:
    """The evaluation as plain text, at most 100 columns unless a word is longer."""
    factor, memory = evaluation.effort.real_time_factor, evaluation.peak_memory_gib
    speed = "" if factor is None else f", real-time factor {factor:.3g}"
    speed += "" if memory is None else f", at most {memory:.2f} GiB"
    rate = evaluation.tokens_per_frame
    lines = [
        f"{evaluation.model} on {evaluation.label_file}{_task(evaluation)}, {evaluation.condition}",
        *(f"  {line}" for line in evaluation.result.headline()),
        f"  clips   {len(evaluation.ids)} ({_duration(evaluation.speech_seconds)} of speech), decoded in "
        f"{_duration(evaluation.decode_seconds)}{speed}",
        *([] if rate is None else [f"  speech  {rate:.3f} tokens a frame"]),
        f"  texts   normalisation: {evaluation.normalisation.said}",
        *(f"  note    {note}" for note in evaluation.result.notes),
    ]
    worst = evaluation.result.worst_first()[:num_worst]
    lines += _section("Worst clips", evaluation, worst)
    others = [index for index in range(len(evaluation.ids)) if index not in worst]
    lines += _section("Samples", evaluation, _spread(others, num_samples))
    return "\n".join(lines)


def side_by_side(reference: str, hypothesis: str, indent: str = "    ") -> list[str]:
    """Reference over hypothesis, word under word, with S, D and I under the errors.

    A word that the other side lacks faces asterisks; zero-width characters are spelt out. Wrapped at 100
    columns.
    """
    columns = []
    for *words, kind in aligned(reference, hypothesis):
        left, right = map(_visible, words)
        width = max(len(left), len(right))
        columns.append(((left or "*" * width), (right or "*" * width), kind, width))
    lines: list[str] = []
    for block in _wrapped(columns, LINE_WIDTH - len(indent) - 5):
        for label, part in (("REF: ", 0), ("HYP: ", 1), ("     ", 2)):
            text = " ".join(str(column[part]).ljust(column[3]) for column in block)
            if text.strip() or part < 2:
                lines.append(f"{indent}{label}{text}".rstrip())
    return lines


@dataclass(frozen=True, kw_only=True)
class WerRow:
    """WERs of one model on one set of voices, by condition."""

    model: str
    voices: str
    """"seen" or "unseen" in training."""
    wer: Mapping[str | float, Interval]
    """By SNR in dB, or "clean"."""


def wer_table(rows: Sequence[WerRow]) -> str:
    """WER (%) with 95 % intervals: a line per model and voices, a column per condition, noisiest last.

    Pipes and dashes, so that it reads in a terminal and renders as Markdown.
    """
    conditions = sorted({condition for row in rows for condition in row.wer}, key=_noisiness)
    names = [name if isinstance(name, str) else f"{name:g} dB" for name in conditions]
    header = ["model", "voices", *names]
    cells = [
        [row.model, row.voices, *(interval_in_words(row.wer.get(condition)) for condition in conditions)]
        for row in rows
    ]
    return markdown_table(header, cells)


def score_table(found: Sequence[tuple[str | None, Evaluation]]) -> str:
    """One line for each test: its score, what the LLM read of a second, what it took.

    found: (name of task and rates, for a model of several, what came of it).
    """
    names = dict.fromkeys(name for _, one in found for name in one.result.metric.split("+"))
    several_views = any(view for view, _ in found)
    rows = [
        [
            *([view or ""] if several_views else []),
            one.label_file,
            one.condition,
            *(_score(one.result, name) for name in names),
            "-" if one.tokens_per_frame is None else f"{one.tokens_per_frame * VIDEO_FPS:.2f}",
            *one.effort.cells(),
        ]
        for view, one in found
    ]
    header = [*(["view"] if several_views else []), "test set", "condition", *names, "tokens/s", *EFFORT]
    return markdown_table(header, rows)


def _score(result: Result, name: str) -> str:
    if result.metric == name:
        return interval_in_words((result.value, *result.interval))
    return f"{result.details()[name]:.1f}" if name in result.metric.split("+") else "-"


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Pipes and dashes, padded to read in a terminal; all columns but the first two lean right."""
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    rule = ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join(_pipes(line, widths) for line in (header, rule, *cells))


def _hypotheses_csv(evaluation: Evaluation) -> str:
    columns = {
        "id": evaluation.ids,
        "reference": evaluation.references,
        "hypothesis": evaluation.hypotheses,
        **({"seconds": [round(length, 3) for length in evaluation.seconds]} if evaluation.seconds else {}),
        **evaluation.result.columns(),
    }
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def finite(value: object) -> object:
    """The same value with null for infinities and NaN, which JSON has no way to write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _section(title: str, evaluation: Evaluation, indices: Sequence[int]) -> list[str]:
    lines = ["", title] if indices else []
    for index in indices:
        said = evaluation.result.of_clip(index)
        lines.append(f"  {evaluation.ids[index]}" + (f": {said}" if said else ""))
        texts = (evaluation.references[index], evaluation.hypotheses[index])
        lines += side_by_side(*map(evaluation.normalisation.apply, texts))
    return lines


def _task(evaluation: Evaluation) -> str:
    """The direction, where all clips are translations in one."""
    names = list(evaluation.clips_by_direction)
    translated = len(names) == 1 and len(set(evaluation.directions[0])) == 2
    return f" ({names[0]})" if translated else ""


def _visible(word: str) -> str:
    return "".join(f"<U+{ord(mark):04X}>" if mark in ZERO_WIDTH else mark for mark in word)


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """`count` of them, evenly spaced."""
    count = min(count, len(indices))
    return [indices[position * len(indices) // count] for position in range(count)]


def _wrapped(columns: list[tuple[str, str, str, int]], width: int) -> list[list[tuple[str, str, str, int]]]:
    blocks: list[list[tuple[str, str, str, int]]] = [[]]
    used = 0
    for column in columns:
        if blocks[-1] and used + column[3] > width:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += column[3] + 1
    return blocks


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.2f} h"


def _noisiness(condition: str | float) -> tuple[int, float]:
    return (0, 0.0) if isinstance(condition, str) else (1, -condition)


def interval_in_words(interval: Interval | None) -> str:
    """`12.5 [10.0, 15.1]`"""
    if interval is None:
        return "-"
    value, low, high = interval
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _pipes(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if index < 2 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
