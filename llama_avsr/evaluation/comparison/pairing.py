"""Bringing the hypotheses of several systems together, clip by clip; refusing those of other test lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama_avsr.evaluation.hypotheses.texts import Key, Texts

MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Paired:
    """One test list, decoded by several systems."""

    ids: Sequence[str]
    references: Sequence[str]
    hypotheses: Sequence[Sequence[str]]
    """Of each system, in the order of `ids`."""
    seconds: Sequence[float | None] = ()
    notes: Sequence[str] = ()


def pair(
    systems: Sequence[Texts], references: Texts | None = None, normalise: Callable[[str], str] = str
) -> Paired:
    """The clips of the first system, with what all systems wrote.

    references: a file that holds the references (as references, or as its only texts). Without one, they are
        those of the first system that has some.
    normalise: applied to every text.

    Raises ValueError, in a sentence, for systems that were tested on other clips or against other references.
    """
    base = _with_references(systems, references)
    truth = [normalise(text) for text in base.references]
    notes: list[str] = []
    texts = [_in_order(base, truth, system, normalise, notes) for system in systems]
    seconds = next((one.seconds for one in (base, *systems) if len(one.seconds) == len(base.ids)), ())
    return Paired(ids=list(base.ids), references=truth, hypotheses=texts, seconds=seconds, notes=notes)


def _with_references(systems: Sequence[Texts], references: Texts | None) -> Texts:
    if references is not None:
        texts = references.hypotheses if references.references is None else references.references
        return Texts(
            source=references.source,
            ids=references.ids,
            hypotheses=texts,
            references=texts,
            seconds=references.seconds,
        )
    for system in systems:
        if system.references is not None:
            return system
    raise ValueError(
        f"{', '.join(system.source for system in systems)}: found no references; give a file that holds them "
        "with --references"
    )


def _in_order(
    base: Texts, truth: Sequence[str], system: Texts, normalise: Callable[[str], str], notes: list[str]
) -> list[str]:
    """The system's hypotheses, normalised, in the order of `base`."""
    own = None if system.references is None else [normalise(text) for text in system.references]
    hypotheses = [normalise(text) for text in system.hypotheses]
    wanted, found = base.keys, {key: place for place, key in enumerate(system.keys)}
    if found.keys() == set(wanted) or (system.omits_silent and found.keys() < set(wanted)):
        missing = [key for key in wanted if key not in found]
        if missing:
            notes.append(f"{system.source}: nothing in {len(missing)} clip(s), taken as empty")
        places = [found.get(key) for key in wanted]
        if own is not None:
            _check_references(base, truth, system, [own[place] for place in places if place is not None])
        return ["" if place is None else hypotheses[place] for place in places]
    if own == list(truth):
        notes.append(
            f"{system.source}: other ids, but the same references in the same order; paired by order"
        )
        return hypotheses
    raise ValueError(_other_clips(base, system, wanted, found))


def _check_references(base: Texts, truth: Sequence[str], system: Texts, own: Sequence[str]) -> None:
    wrong = [place for place, (a, b) in enumerate(zip(truth, own, strict=True)) if a.split() != b.split()]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{system.source} was scored against other references than {base.source}: {len(wrong)} "
            f"of {len(truth)} differ, such as {base.ids[first]}: {own[first]!r} against {truth[first]!r}; "
            "compare results of one label file (--normalise lower levels case)"
        )


def _other_clips(base: Texts, system: Texts, wanted: Sequence[Key], found: dict[Key, int]) -> str:
    only_there = [key[0] for key in found if key not in set(wanted)]
    only_here = [key[0] for key in wanted if key not in found]
    parts = [
        f"{len(names)} only in {source} ({', '.join(names[:MAX_NAMED])}{', ...' * (len(names) > MAX_NAMED)})"
        for names, source in ((only_here, base.source), (only_there, system.source))
        if names
    ]
    return (
        f"{system.source} was made with another test list than {base.source}: {'; '.join(parts)}; a "
        "comparison needs the same clips"
    )
