"""Options inside checkpoints: to plain values, back, and joined with an evaluation's flags."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llama_avsr.options.checks import check, idle_with, is_idle, unused
from llama_avsr.options.fields import TESTING, Field, canonical
from llama_avsr.options.groups import BY_SPELLING, FIELDS, Options
from llama_avsr.options.values import plain
from llama_avsr.options.views import SELECTING

LOGGER = logging.getLogger(__name__)

MODEL_FIELDS = frozenset(name for name, field in FIELDS.items() if field.scope.fixed)
"""What defines a trained model."""


def to_dict(options: Options) -> dict[str, dict[str, Any]]:
    """Group -> option -> value, in types that JSON and YAML know; without what only transcription reads."""
    saved = {
        group.name: {name: plain(options[name]) for name, field in group.fields.items() if _is_saved(field)}
        for group in options.schema.groups
    }
    return {name: values for name, values in saved.items() if values}


def _is_saved(field: Field) -> bool:
    return any(field.scope.counts_in(program) for program in TESTING)


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
    (weights may lie elsewhere: `Scope.may_differ`), and for what is then missing or contradictory.
    """
    asked = options
    if saved is not None:
        trained = Options().updated(_known(saved))
        idle = idle_with(trained) if trained.goal.modality else set()
        # Of several tasks and rates, some may be chosen (`views.chosen_views`).
        if trained.goal.modality and len(trained.views) > 1:
            explicit = set(explicit) - SELECTING
        inherited, faults = {}, []
        for name in model_fields:
            given = options[name]
            has_effect = name not in idle and not is_idle(name, program)
            if name not in explicit or given == trained[name] or not has_effect:
                inherited[name] = trained[name]
            elif fault := _contradiction(FIELDS[name], given, trained[name]):
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


def _contradiction(field: Field, given: Any, trained: Any) -> str | None:
    """What to tell the user; None, with a note in the log, where the difference may stand."""
    flag, shown, kept = field.flag, _shown(given), _shown(trained)
    if field.scope.may_differ and not isinstance(given, str):
        LOGGER.info("%s: %s in place of %s, with which the model was trained", flag, shown, kept)
        return None
    if field.scope.may_differ and trained is not None:
        if _may_be_same(given, trained):
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
