"""Scores that follow the clips: recognition by WER, translation by BLEU, each direction by itself and pooled.

A direction is (spoken, written) language. Where they are one language, the task was recognition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType

from datamodules.languages import Direction, show_direction
from llama_avsr.evaluation.metrics.bleu import Bleu
from llama_avsr.evaluation.metrics.result import Cell, Metric, Result, check_pairs
from llama_avsr.evaluation.metrics.wer import WordErrorRate
from llama_avsr.tasks import wer_or_bleu

RECOGNITION, TRANSLATION = WordErrorRate(), Bleu()
KINDS: Mapping[str, Metric] = MappingProxyType({"recognition": RECOGNITION, "translation": TRANSLATION})
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in KINDS.values()})


def metric(name: str) -> Metric:
    """The metric of that name. ValueError: there is none."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; expected one of: {', '.join(sorted(METRICS))}")
    return METRICS[name]


def score_by_direction(
    directions: Sequence[Direction],
    references: Sequence[str],
    hypotheses: Sequence[str],
    metric_of: Callable[[Direction], str] = wer_or_bleu,
    speakers: Sequence[str] | None = None,
) -> Result:
    """Score a test set whose clips may be of several directions; one each, in the order of the texts.

    metric_of: name of the metric that judges a direction's clips.
    speakers: of each clip, where they are known.

    One direction: its metric's own result. Several: `ScoresByDirection`. ValueError: no clips, or not as many
    directions and hypotheses as references.
    """
    check_pairs(references, hypotheses)
    if len(directions) != len(references):
        raise ValueError(
            f"found {len(directions)} directions for {len(references)} clips; expected one for each"
        )
    indices: dict[Direction, list[int]] = {}
    for index, direction in enumerate(directions):
        indices.setdefault(direction, []).append(index)
    parts = tuple(
        Part(
            name=show_direction(direction),
            indices=tuple(those),
            result=metric(metric_of(direction)).score(*_of_clips(those, references, hypotheses, speakers)),
        )
        for direction, those in sorted(
            indices.items(), key=lambda item: metric_of(item[0]) == TRANSLATION.name
        )
    )
    if len(parts) == 1:
        return parts[0].result
    of_kind = {kind: [part for part in parts if part.result.metric == KINDS[kind].name] for kind in KINDS}
    pooled = {kind: _pooled(own, references, hypotheses, speakers) for kind, own in of_kind.items() if own}
    return ScoresByDirection(parts=parts, pooled=pooled)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The clips of one direction."""

    name: str
    """`en` or `en-es`."""
    indices: tuple[int, ...]
    """Where its clips are in the test set."""
    result: Result


@dataclass(frozen=True, kw_only=True)
class ScoresByDirection:
    """Scores of a test set of several directions."""

    parts: tuple[Part, ...]
    """Recognition first, then in the order in which directions appear."""
    pooled: Mapping[str, Result]
    """"recognition", "translation": over the clips of all such directions."""

    @property
    def metric(self) -> str:
        """`wer`, `bleu`, or `wer+bleu`."""
        return "+".join(result.metric for result in self.pooled.values())

    @property
    def value(self) -> float:
        """Of all clips; NaN for a mixture, as no number stands for both WER and BLEU."""
        return next(iter(self.pooled.values())).value if len(self.pooled) == 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return next(iter(self.pooled.values())).interval if len(self.pooled) == 1 else (math.nan, math.nan)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{part.name}: {note}" for part in self.parts for note in part.result.notes)

    def headline(self) -> list[str]:
        """A line per direction, then one for all of a kind where that is more than one."""
        rows = [(part.name, part.result.brief()) for part in self.parts]
        rows += [
            (f"all {kind}", f"{result.brief()}; mean of directions {self._mean(result):.2f}")
            for kind, result in self.pooled.items()
            if len(self._values(result)) > 1
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name.ljust(width)}  {text}" for name, text in rows]
        lines.append("in [ ]  95 % intervals over clips, or over speakers where that is wider")
        if translation := self.pooled.get("translation"):
            lines.append(f"scorer  sacrebleu {translation.details()['signature']}")
        return lines

    def brief(self) -> str:
        return ", ".join(f"{part.name} {part.result.brief()}" for part in self.parts)

    def details(self) -> dict[str, object]:
        """The pooled numbers under the names that they have alone (`wer`, `bleu`, ...), then everything."""
        numbers: dict[str, object] = {}
        for result in self.pooled.values():
            numbers[result.metric] = result.value
            numbers[f"{result.metric}_interval_95"] = list(result.interval)
            numbers[f"{result.metric}_mean_of_directions"] = self._mean(result)
        by_direction = {
            part.name: {"metric": part.result.metric, "num_clips": len(part.indices), **part.result.details()}
            for part in self.parts
        }
        pooled = {kind: result.details() for kind, result in self.pooled.items()}
        return {**numbers, **pooled, "by_direction": by_direction}

    def columns(self) -> dict[str, list[Cell]]:
        """`direction`, and each metric's own columns, blank for clips that it does not judge."""
        total = sum(len(part.indices) for part in self.parts)
        columns: dict[str, list[Cell]] = {"direction": [""] * total}
        for part in self.parts:
            own = {"direction": [part.name] * len(part.indices), **part.result.columns()}
            for name, values in own.items():
                column = columns.setdefault(name, [""] * total)
                for index, value in zip(part.indices, values, strict=True):
                    column[index] = value
        return columns

    def of_clip(self, index: int) -> str:
        part = next(part for part in self.parts if index in part.indices)
        text = part.result.of_clip(part.indices.index(index))
        return f"{part.name}, {text}" if text else part.name

    def worst_first(self) -> list[int]:
        """The worst clip of each direction, then the second worst of each: WER and BLEU do not compare."""
        worst = [[part.indices[index] for index in part.result.worst_first()] for part in self.parts]
        return [index for rank in zip_longest(*worst) for index in rank if index is not None]

    def _values(self, pooled: Result) -> list[float]:
        return [part.result.value for part in self.parts if part.result.metric == pooled.metric]

    def _mean(self, pooled: Result) -> float:
        values = self._values(pooled)
        return sum(values) / len(values)


def _of_clips(
    indices: Sequence[int],
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str] | None,
) -> tuple[list[str], list[str], list[str] | None]:
    own = [[texts[i] for i in indices] for texts in (references, hypotheses)]
    return own[0], own[1], None if speakers is None else [speakers[i] for i in indices]


def _pooled(
    parts: Sequence[Part],
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str] | None,
) -> Result:
    """One score of all clips of these directions, which have one metric."""
    if len(parts) == 1:
        return parts[0].result
    indices = sorted(index for part in parts for index in part.indices)
    judge = METRICS[parts[0].result.metric]
    return judge.score(*_of_clips(indices, references, hypotheses, speakers))
