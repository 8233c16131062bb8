"""Options inside checkpoints: to plain values, back, and joined with an evaluation's flags."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from llama_avsr.options.checks import (
    MODEL_GROUPS,
    check,
    idle_with_modality,
    is_idle_in_evaluation,
    unused,
)
from llama_avsr.options.fields import canonical, flag_of
from llama_avsr.options.groups import BY_SPELLING, FIELDS, GROUPS, Options
from llama_avsr.options.transcribing import TRANSCRIBING
from llama_avsr.options.values import plain

LOGGER = logging.getLogger(__name__)

LOCATIONS = frozenset(
    {
        "llm_model",
        "audio_encoder_name",
        "pretrain_avhubert_enc_video_path",
        "pretrain_avhubert_enc_audio_path",
        "pretrain_avhubert_enc_audiovisual_path",
    }
)
"""Where weights lie: another machine may keep the same ones elsewhere."""
UNITS = ("units_centroids", "units_layer")
"""How the units are found: one model takes them from label files and finds them on the fly."""
MODEL_FIELDS = frozenset(
    {name for name, field in FIELDS.items() if field.group in MODEL_GROUPS} | {"unfrozen_modules"}
)
"""What defines a trained model."""


def to_dict(options: Options) -> dict[str, dict[str, Any]]:
    """Group -> option -> value, in types that JSON and YAML know; how to transcribe is left out, it is no
    matter of a run."""
    return {
        group: {name: plain(options[name]) for name, field in FIELDS.items() if field.group == group}
        for group, _ in GROUPS
        if group not in TRANSCRIBING
    }


def from_dict(saved: Mapping[str, Any]) -> Options:
    """Options from `to_dict`, or from a flat dict, of this or another version.

    What is missing takes its default; what is unknown is logged and left out. Raises ValueError for a
    value that an option cannot have.
    """
    return Options().updated(_known(saved))


def merge_with_checkpoint(
    options: Options,
    explicit: Collection[str],
    saved: Mapping[str, Any] | None,
    model_fields: Collection[str] = MODEL_FIELDS,
    program: str = "eval",
) -> Options:
    """Complete the options of a program: the model's from its checkpoint, the rest from the flags.

    explicit: names of the options that the user set.
    saved: the checkpoint's options (`to_dict`); None for a file that carries none.

    Raises ValueError naming flag, both values and what to do for a flag that contradicts the checkpoint
    (weights may lie elsewhere: see LOCATIONS), and for what is then missing or contradictory.
    """
    asked = options
    if saved is not None:
        trained = Options().updated(_known(saved))
        idle = idle_with_modality(trained) if trained.goal.modality else set()
        inherited, faults = {}, []
        for name in model_fields:
            given = options[name]
            may_differ = name in idle or is_idle_in_evaluation(name)
            if name not in explicit or given == trained[name] or may_differ:
                inherited[name] = trained[name]
            elif fault := _contradiction(name, given, trained[name]):
                faults.append(fault)
        if faults:
            raise ValueError("\n".join(sorted(faults)))
        options = options.updated(inherited)
    check(options, program)
    said = options.updated({name: asked[name] for name in explicit})
    for note in unused(said, explicit, program):
        LOGGER.info(note)
    return options


def _known(saved: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in _flat(saved):
        field = BY_SPELLING.get(canonical(name)) if isinstance(name, str) else None
        if field is None:
            LOGGER.warning("saved option %s is unknown to this version and left out", name)
        else:
            values[field.name] = field.convert(value, f"saved option {name}")
    return values


def _flat(saved: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in saved.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value


def _contradiction(name: str, given: Any, trained: Any) -> str | None:
    """What to tell the user; None, with a note in the log, where the difference may stand."""
    flag, shown, kept = flag_of(name), _shown(given), _shown(trained)
    if name in UNITS:
        return None
    if name in LOCATIONS and trained is not None and given is not None:
        if isinstance(given, Path) or _may_be_same(given, trained):
            LOGGER.info("%s: %s in place of %s, with which the model was trained", flag, shown, kept)
            return None
        return (
            f"{flag} {shown} contradicts the checkpoint, trained with {kept}: "
            "leave the flag out, or give the folder where those weights lie, as ./folder or /folder"
        )
    return f"{flag} {shown} contradicts the checkpoint, trained with {kept}: leave the flag out"


def _may_be_same(given: str, trained: str) -> bool:
    """A path says nothing about the weights in it; two hub names that differ are two models."""
    last = [name.rstrip("/").rpartition("/")[2].lower() for name in (given, trained)]
    return last[0] == last[1] or not (_is_hub_name(given) and _is_hub_name(trained))


def _is_hub_name(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else repr(value) if " " in str(value) else str(value)
