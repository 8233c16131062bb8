"""A model for several tasks, at several compression rates, seen as models for one task at one rate each."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
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
    tasks = asked.goal.tasks if "tasks" in explicit else (asked.goal.task,) if "task" in explicit else ()
    _check("--tasks", tasks, options.task_names, "the model was trained for")
    rates = {}
    for stream in options.streams:
        given = [name for name in (stream.ratios, stream.ratio) if name in explicit]
        for name in given[:1]:
            values = asked[name] if name == stream.ratios else (asked[name],)
            flag = f"--{name.replace('_', '-')}"
            _check(flag, values, options.rates(stream), "the model was trained at")
            rates[stream.ratio] = values
    return tuple(
        view
        for view in views
        if (not tasks or view.task_name in tasks)
        and all(view[s.ratio] in rates[s.ratio] for s in view.streams if s.ratio in rates)
    )


def _check(flag: str, wanted: Collection[Any], trained: Collection[Any], what: str) -> None:
    unknown = [str(value) for value in wanted if value not in trained]
    if unknown:
        raise ValueError(
            f"{flag} {' '.join(unknown)}: {what} {', '.join(map(str, trained))}; choose among these"
        )
