"""The model card of a checkpoint: YAML for the hub, and what a person should know of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

LIBRARY = "llama-avsr"
SCORES = {"wer": "WER (%)", "bleu": "BLEU"}
SHOWN = ("goal", "encoder", "compression", "projector", "llm", "lora", "training", "augmentation")
"""Groups of options in the card."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A pretrained model that the checkpoint needs, and does not contain."""

    role: str
    """Language model, audio encoder, ..."""
    flag: str
    name: str
    """Hub name, or the last part of a local path."""
    is_local: bool
    license: str | None = None

    @property
    def license_text(self) -> str:
        return self.license or f"unknown: see {self.name}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says."""

    name: str
    """`user/model`"""
    options: Mapping[str, Mapping[str, Any]]
    parts: Sequence[Part]
    versions: Mapping[str, str] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    """Contents of summary.json files."""
    license: str = "other"
    train_hours: float | None = None
    averaged: Sequence[str] = ()

    def __str__(self) -> str:
        front = yaml.safe_dump(self._metadata(), sort_keys=False, allow_unicode=True)
        return f"---\n{front}---\n\n{self._text()}"

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"license": self.license, "library_name": LIBRARY}
        if base := [part.name for part in self.parts if not part.is_local]:
            found["base_model"] = base
        found["pipeline_tag"] = "automatic-speech-recognition"
        found["tags"] = [LIBRARY, f"modality-{self.options['goal']['modality']}"]
        if scores := [score for score in SCORES if any(score in result for result in self.results)]:
            found["metrics"] = scores
            found["model-index"] = [{"name": self.name, "results": [_index(r) for r in self.results]}]
        return found

    def _text(self) -> str:
        sections = {
            f"# {self.name}": self._description(),
            "## Use": self._use(),
            "## Results": self._results(),
            "## Training data": self._data(),
            "## Parts and licences": self._parts(),
            "## Options": self._options(),
            "## Versions": "\n".join(f"- {name} {found}" for name, found in self.versions.items()),
        }
        return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items() if body) + "\n"

    def _description(self) -> str:
        goal = self.options["goal"]
        what = "translation" if goal["task"] == "translation" else "speech recognition"
        lines = [
            f"A model of modality `{goal['modality']}` for {what} with a large language model, trained with "
            f"{LIBRARY}. It holds what was trained (projectors, adapters, rows of added tokens); the "
            "pretrained parts below are loaded beside it."
        ]
        if self.averaged:
            lines.append(f"The weights are the mean of {len(self.averaged)} checkpoints.")
        return "\n\n".join(lines)

    def _use(self) -> str:
        local = [part for part in self.parts if part.is_local]
        needed = "".join(f', {part.flag.removeprefix("--").replace("-", "_")}="FOLDER"' for part in local)
        code = (
            f'import llama_avsr\n\ntranscriber = llama_avsr.load("{self.name}"{needed})\n'
            'print(transcriber.transcribe("video.mp4").text)'
        )
        note = ""
        if local:
            named = ", ".join(f"`{part.name}` (`{part.flag}`)" for part in local)
            note = f"\n\nIt was trained with local copies of {named}: say where yours are."
        return f"```python\n{code}\n```{note}"

    def _results(self) -> str:
        if not self.results:
            return "None were found beside the model."
        rows = ["| label file | condition | clips | hours | score [95 % interval] | decoding | RTF | GiB |"]
        rows.append("|---|---|---:|---:|---|---|---:|---:|")
        return "\n".join([*rows, *map(_row, self.results)])

    def _data(self) -> str:
        data = self.options["data"]
        hours = "unknown" if self.train_hours is None else f"{self.train_hours:.1f}"
        return "\n".join(
            [
                f"- trained on `{_base(data['train_file'])}`; hours: {hours}",
                f"- validated on `{_base(data['val_file'])}`",
            ]
        )

    def _parts(self) -> str:
        rows = ["| part | name | licence |", "|---|---|---|"]
        rows += [f"| {part.role} | {part.name} | {part.license_text} |" for part in self.parts]
        return "\n".join([*rows, "", f"The weights in this repository: {self.license}."])

    def _options(self) -> str:
        shown = {group: dict(self.options[group]) for group in SHOWN if group in self.options}
        return f"```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```"


def without_paths(value: Any) -> Any:
    """The same value with every absolute path in it shortened to its last part."""
    if isinstance(value, str):
        return _base(value) if _is_absolute(value) else value
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return value


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "~/")) or text[1:3] in (":\\", ":/")


def _base(text: str) -> str:
    return PurePath(text.replace("\\", "/")).name if _is_absolute(text) else text


def _condition(result: Mapping[str, Any]) -> str:
    sound = "clean" if result.get("snr_db") is None else f"{result['snr_db']:g} dB"
    sound += f" {result['noise']}" if result.get("noise") else ""
    return sound if result.get("damage", "none") == "none" else f"{sound}, {result['damage']}"


def _row(result: Mapping[str, Any]) -> str:
    scores = []
    for name, title in SCORES.items():
        if result.get(name) is not None:
            low, high = result.get(f"{name}_interval_95") or (None, None)
            interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
            scores.append(f"{title} {result[name]:.2f}{interval}")
    decoding = result.get("decoding", {})
    beams = f"{decoding.get('num_beams')} beams, at most {decoding.get('max_dec_tokens')} tokens"
    columns = (
        _base(str(result["label_file"])),
        _condition(result),
        str(result["num_clips"]),
        f"{result['speech_hours']:.2f}",
        ", ".join(scores),
        beams + (", other clips' speech (a control)" if decoding.get("shuffle_speech") else ""),
    )
    figures = [_figure(result, name) for name in ("real_time_factor", "peak_memory_gib")]
    return f"| {' | '.join((*columns, *figures))} |"


def _figure(result: Mapping[str, Any], name: str) -> str:
    value = result.get(name)
    return "-" if value is None else f"{value:.3g}"


def _index(result: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the hub's `model-index`."""
    name = f"{_base(str(result['label_file']))}, {_condition(result)}"
    metrics = [
        {"type": score, "value": round(result[score], 4), "name": title}
        for score, title in SCORES.items()
        if result.get(score) is not None
    ]
    return {
        "task": {"type": "automatic-speech-recognition"},
        "dataset": {"name": name, "type": "private"},
        "metrics": metrics,
    }
