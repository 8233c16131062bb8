"""A model for several tasks, at several compression rates, seen as models for one task at one rate each."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_avsr.options.groups import Options

SELECTING = frozenset(
    ["task", "tasks"]
    + [
        f"downsample_{ratio}_{stream}"
        for ratio in ("ratio", "ratios")
        for stream in ("audio", "video", "audiovisual")
    ]
)
"""Options that say, of a model with several views, which are wanted."""


def views_of(options: Options) -> tuple[Options, ...]:
    """In the order of the tasks, and of the rates of their first stream; the options as they are, where the
    model is for one task at one rate."""
    if not options.goal.tasks and not any(s.ratios and options[s.ratios] for s in options.streams):
        return (options,)
    found = []
    for task in options.task_names:
        single = options.updated({"task": task, "tasks": (), "modality": options.modality_of(task)})
        found += [single.updated(rates) for rates in _rates(single)]
    return tuple(found)


def _rates(options: Options) -> Iterator[dict[str, Any]]:
    """Every combination of the streams' rates, as options."""
    folded = [stream for stream in options.streams if options.rates(stream)]
    for rates in itertools.product(*(options.rates(stream) for stream in folded)):
        yield {
            **{stream.ratio: rate for stream, rate in zip(folded, rates, strict=True)},
            **{stream.ratios: () for stream in folded if stream.ratios},
        }


def chosen_views(options: Options, asked: Options, explicit: Collection[str]) -> tuple[Options, ...]:
    """The views of a model that a user asks for.

    options: completed by the checkpoint. asked: as the user gave them. explicit: those that the user set.
    Raises ValueError, naming what there is, for a task or rate that the model was not trained for.
    """
    views = options.views
    if len(views) == 1:
        return views
    tasks = _wanted(asked, explicit, ("task", "tasks"), options.task_names, "the model was trained for")
    rates = {
        stream.ratio: _wanted(
            asked, explicit, (stream.ratio, stream.ratios), options.rates(stream), "the model was trained at"
        )
        for stream in options.streams
    }
    return tuple(
        view
        for view in views
        if view.task_name in tasks
        and all(view[stream.ratio] in rates[stream.ratio] for stream in view.streams if view.rates(stream))
    )


def _wanted(
    asked: Options, explicit: Collection[str], names: Sequence[str | None], trained: Sequence[Any], what: str
) -> Sequence[Any]:
    """What the first of the options that is set asks for; everything where none is."""
    for name in names:
        if name in explicit:
            wanted = asked[name] if isinstance(asked[name], tuple) else (asked[name],)
            if unknown := [str(value) for value in wanted if value not in trained]:
                raise ValueError(
                    f"--{name.replace('_', '-')} {' '.join(unknown)}: {what} {', '.join(map(str, trained))}; "
                    "choose among these"
                )
            return wanted
    return trained
