"""One HTML file that needs no network: scores, a plot, verdicts, and clips with their errors in colour."""

from __future__ import annotations

import base64
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from datamodules import formats
from datamodules.batch import Utterance
from llama_avsr.evaluation.comparison.compare import Comparison
from llama_avsr.evaluation.effort import EFFORT, of_summary
from llama_avsr.evaluation.hypotheses import Texts
from llama_avsr.evaluation.metrics import Scores, aligned, score
from llama_avsr.evaluation.normalisation import Normalisation
from llama_avsr.evaluation.plots import CLEAN, wer_vs_snr
from llama_avsr.evaluation.report import (
    HYPOTHESES_FILE,
    NBEST_FILE,
    ORIGIN_FILE,
    SUMMARY_FILE,
    interval_in_words,
)
from llama_avsr.evaluation.speakers import speakers_of

MAX_CLIP_BYTES = 300_000
"""Of one file; longer clips are shown without it."""
MAX_MEDIA_BYTES = 20_000_000
"""Of all files in a report, so that it can be sent by mail."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
.wide { overflow-x: auto } table { border-collapse: collapse } li { overflow-wrap: anywhere }
td, th { padding: .2em .8em; text-align: left; white-space: nowrap; border-bottom: 1px solid #ddd }
.clip { margin: 1em 0; padding: .6em .8em; background: #f6f6f6 } .id { color: #666; font-size: 85% }
.S { background: #ffd9b3 } .I { background: #b3d9ff }
.D { background: #ffb3b3; text-decoration: line-through }
.best { color: #444; font-size: 90% } .best td { border: 0; padding: 0 .8em 0 0; white-space: normal }
.words span { margin-right: .35em; padding: 0 .15em } img { max-width: 100% } video, audio { height: 5em }
"""


@dataclass(frozen=True, kw_only=True)
class System:
    """What one system wrote under one condition."""

    name: str
    condition: str
    texts: Texts
    scores: Scores
    normalisation: Normalisation

    def nbest(self, place: int) -> list[tuple[str, float]]:
        """Text and score of a clip's hypotheses, the best first, where they were kept (--nbest)."""
        return self._nbest[place] if place < len(self._nbest) else []

    @cached_property
    def _nbest(self) -> list[list[tuple[str, float]]]:
        """In the order of the clips."""
        path = Path(self.texts.source).with_name(NBEST_FILE)
        if not self._is_ours or not path.is_file():
            return []
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [[(one["text"], one["score"]) for one in row["hypotheses"]] for row in rows]

    @property
    def _is_ours(self) -> bool:
        return Path(self.texts.source).name == HYPOTHESES_FILE

    def beside(self, name: str) -> dict[str, Any]:
        """A JSON file of its results folder; nothing where hypotheses are of another system."""
        path = Path(self.texts.source).with_name(name)
        return json.loads(path.read_text(encoding="utf-8")) if self._is_ours and path.is_file() else {}


class Media:
    """Sound and pictures of clips, as long as there is room for them."""

    def __init__(self, origin: Mapping[str, Any]) -> None:
        self.clips = _clips_of(origin)
        self.bytes_left = MAX_MEDIA_BYTES

    def of(self, clip_id: str) -> str:
        """HTML; empty for a clip that is not on this machine, or too large."""
        clip = self.clips.get(clip_id)
        if clip is None:
            return ""
        video = self._embedded(clip.video_path, '<video controls src="data:video/mp4;base64,{}"></video>')
        return video + self._embedded(
            clip.audio_path, '<audio controls src="data:audio/wav;base64,{}"></audio>'
        )

    def _embedded(self, path: Path, tag: str) -> str:
        if not path.is_file() or path.stat().st_size > min(MAX_CLIP_BYTES, self.bytes_left):
            return ""
        content = path.read_bytes()
        self.bytes_left -= len(content)
        return tag.format(base64.b64encode(content).decode())


def system(
    name: str,
    condition: str,
    texts: Texts,
    normalisation: Normalisation,
    speaker_pattern: str | None = None,
) -> System:
    """With its scores. Raises ValueError for hypotheses without references."""
    if texts.references is None:
        raise ValueError(f"{texts.source}: found no references; a report needs files that hold them")
    compared = [[normalisation.apply(text) for text in side] for side in (texts.references, texts.hypotheses)]
    scores = score(*compared, speakers_of(texts.ids, speaker_pattern))
    return System(name=name, condition=condition, texts=texts, scores=scores, normalisation=normalisation)


def page(systems: Sequence[System], comparisons: Sequence[Comparison], num_clips: int) -> str:
    """The whole file. num_clips: shown of each system's worst, and of those that changed most."""
    media = Media(systems[0].beside(ORIGIN_FILE))
    sections = [("Systems", _sources(systems)), ("Scores", _table(systems)), ("WER in noise", _plot(systems))]
    if comparisons:
        items = "".join(
            f"<li>{escape(f'{one.condition}: ' if one.condition else '')}{escape(one.verdict())}</li>"
            for one in comparisons
        )
        sections.append(("Verdicts", f"<ul>{items}</ul>"))
    for one in systems:
        worst = [_clip(one, place, media) for place in one.scores.worst_first()[:num_clips]]
        sections.append((f"Worst clips of {_title(one)}", "".join(worst)))
    for one in comparisons:
        title = f"Clips that changed between {' and '.join(one.names)}"
        title += f", {one.condition}" if one.condition else ""
        sections.append((title, "".join(_changed(one, place, media) for place in one.changed[:num_clips])))
    sections.append(("Origin", "".join(map(_origin, systems))))
    body = "".join(f"<h2>{escape(title)}</h2>{content}" for title, content in sections if content)
    legend = (
        '<span class="S">substituted</span> <span class="D">deleted</span> <span class="I">inserted</span>'
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>Evaluation</title>'
        f"<style>{STYLE}</style></head><body><h1>Evaluation</h1><p>{legend}</p>{body}</body></html>\n"
    )


def _table(systems: Sequence[System]) -> str:
    header = (
        "system",
        "condition",
        "WER (%) [95 %]",
        "CER (%) [95 %]",
        "S / D / I",
        "words",
        "clips",
        *EFFORT,
    )
    rows = [
        (
            one.name,
            one.condition or "-",
            interval_in_words((one.scores.wer, *one.scores.interval)),
            interval_in_words((one.scores.cer, *one.scores.cer_interval)),
            f"{one.scores.substitutions} / {one.scores.deletions} / {one.scores.insertions}",
            str(one.scores.num_words),
            str(len(one.texts.ids)),
            *_effort(one),
        )
        for one in systems
    ]
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    note = (
        f"Normalisation of the texts: {systems[0].normalisation.said}. RTF: seconds of decoding per second "
        "of speech; device s: seconds of all GPUs, or of machines without one; GiB: peak memory."
    )
    return f'<div class="wide"><table>{"".join(lines)}</table></div><p class="id">{escape(note)}</p>'


def _effort(one: System) -> list[str]:
    found = of_summary(one.beside(SUMMARY_FILE))
    return ["-"] * len(EFFORT) if found is None else found.cells()


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _plot(systems: Sequence[System]) -> str:
    """WER against SNR, where results name several; of undamaged pictures, a line per system and noise."""
    curves: dict[str, dict[str | float, tuple[float, float, float]]] = {}
    clean: dict[str, tuple[float, float, float]] = {}
    for one in systems:
        said = one.beside(SUMMARY_FILE)
        if not {"snr_db", "decoding"} <= said.keys() or said.get("damage", "none") != "none":
            continue
        if said["decoding"].get("shuffle_speech"):
            continue
        point = (one.scores.wer, *one.scores.interval)
        if said["snr_db"] is None:
            clean[one.name] = point
        else:
            noise = said.get("noise")
            label = f"{one.name}, {noise}" if noise else one.name
            curves.setdefault(label, {})[said["snr_db"]] = point
    for name, point in clean.items():
        # Clean sound is the end of every line of its system.
        own = [label for label in curves if label == name or label.startswith(f"{name}, ")]
        for label in own or [name]:
            curves.setdefault(label, {})[CLEAN] = point
    if len({key for curve in curves.values() for key in curve}) < 2:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        wer_vs_snr(curves, Path(folder) / "plot.png")
        content = base64.b64encode((Path(folder) / "plot.png").read_bytes()).decode()
    return f'<img alt="Word error rate against SNR" src="data:image/png;base64,{content}">'


def _clip(one: System, place: int, media: Media) -> str:
    texts = (one.texts.references[place], one.texts.hypotheses[place])
    words = _words(*map(one.normalisation.apply, texts))
    return _framed(one.texts.ids[place], one.scores.of_clip(place), words + _best(one, place), media)


def _best(one: System, place: int) -> str:
    """The hypotheses of a clip with their scores, and how sure the model was."""
    found = one.nbest(place)
    if not found:
        return ""
    rows = "".join(_row("td", (f"{score:.2f}", text or "(nothing)")) for text, score in found)
    return f'<div class="best">{_sureness(one, found)}<table>{rows}</table></div>'


def _sureness(one: System, hypotheses: Sequence[tuple[str, float]]) -> str:
    """The score is a mean of log-probabilities where lengths were not weighed otherwise."""
    if one.beside(SUMMARY_FILE).get("decoding", {}).get("length_penalty") != 1:
        return "scores and hypotheses:"
    return (
        f"confidence {math.exp(min(0.0, hypotheses[0][1])):.0%} a token; log-probability a token, and text:"
    )


def _changed(one: Comparison, place: int, media: Media) -> str:
    words = "".join(
        f"<div>{escape(name)}: {_words(one.references[place], texts[place])}</div>"
        for name, texts in zip(one.names, one.texts, strict=True)
    )
    return _framed(one.ids[place], f"{one.names[1]} {one.gains[place]:+d}", words, media)


def _framed(clip_id: str, said: str, words: str, media: Media) -> str:
    head = f'<div class="id">{escape(clip_id)}: {escape(said)}</div>'
    return f'<div class="clip">{head}{words}{media.of(clip_id)}</div>'


def _words(reference: str, hypothesis: str) -> str:
    """What was said, with what was written in its place; each error in its colour."""
    spans = []
    for said, written, kind in aligned(reference, hypothesis):
        shown = f"{said} → {written}" if kind == "S" else said or written
        spans.append(
            f'<span class="{kind}">{escape(shown)}</span>' if kind else f"<span>{escape(shown)}</span>"
        )
    return f'<div class="words">{"".join(spans)}</div>'


def _origin(one: System) -> str:
    found = one.beside(ORIGIN_FILE)
    program = found.get("program", {})
    facts: Mapping[str, object] = {
        "file": one.texts.source,
        "model": found.get("model"),
        "weights": found.get("weights", {}).get("sha256"),
        "label file": found.get("label_file", {}).get("sha256"),
        "commit": program.get("commit"),
        "seconds of decoding per second of speech": one.beside(SUMMARY_FILE).get("real_time_factor"),
    }
    said = "".join(f"<li>{escape(name)}: {escape(str(fact))}</li>" for name, fact in facts.items() if fact)
    return f"<p>{escape(_title(one))}</p><ul>{said}</ul>"


def _sources(systems: Sequence[System]) -> str:
    """What the letters stand for; of several conditions, the first one's file."""
    sources: dict[str, str] = {}
    for one in systems:
        sources.setdefault(one.name, one.texts.source)
    rows = (f"<li>{escape(name)}: {escape(source)}</li>" for name, source in sources.items())
    return f"<ul>{''.join(rows)}</ul>"


def _title(one: System) -> str:
    return f"{one.name}, {one.condition}" if one.condition else one.name


def _clips_of(origin: Mapping[str, Any]) -> dict[str, Utterance]:
    """The clips of a result by id, where its label file and data are on this machine."""
    if not origin:
        return {}
    try:
        clips = formats.read(
            Path(origin["label_file"]["path"]), Path(origin["options"]["data"]["root_dir"]), ()
        )
    except (ValueError, OSError, KeyError):
        return {}
    return {clip.id: clip for clip in clips}
