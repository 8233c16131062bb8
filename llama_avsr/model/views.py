"""What a model can be used for: a task, at a compression rate for each of its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datamodules.seeding import generator, randint
from llama_avsr.tasks import Stream


@dataclass(frozen=True)
class View:
    """One use of a model. A model for one task at one rate has just one."""

    name: str
    """`avsr_4_2`: the task and its rates."""
    task: str
    streams: tuple[Stream, ...]
    """In the order of the sequence."""
    parts: tuple[str, ...]
    """Of each stream, the key of its compressor and its projector."""
    rates: Mapping[str, int] = field(default_factory=dict)
    """Stream -> rate, where frames are folded."""
    adapters: tuple[str, ...] = ()
    """The LLM's adapters that are active, summed."""
    ignored_target: int | None = None
    """A token id that is never learnt, where it stands in a target."""


@dataclass(frozen=True)
class Share:
    """A view's share in the loss."""

    view: View
    weight: float
    """Of its loss."""
    count: float
    """How often its clips count in the mean."""


class Mix:
    """Which views a training step is made of.

    The loss is the mean over the tasks of weight * loss, and a task's that over its rates.

    views: of the model. weights: of its tasks, in their order; default: 1.
    draws: whether a step has one rate for each stream, drawn at random, or all of them.
    seed: of the draws, which are a function of it and the step: alike on all ranks and after resuming.
    """

    def __init__(
        self, views: Sequence[View], weights: Sequence[float] = (), draws: bool = True, seed: int = 0
    ) -> None:
        self.views = tuple(views)
        tasks = list(dict.fromkeys(view.task for view in views))
        self.weights = dict(zip(tasks, weights or [1.0] * len(tasks), strict=True))
        self.draws = draws
        self.seed = seed
        rates: dict[str, dict[int, None]] = {}
        for view in views:
            for stream, rate in view.rates.items():
                rates.setdefault(stream, {})[rate] = None
        self.rates = {stream: list(found) for stream, found in rates.items()}

    def of_step(self, step: int) -> list[Share]:
        """What to train on."""
        if not self.draws:
            return self.whole
        rng = generator(self.seed, step, "compression rates")
        return self.at({s: rates[randint(0, len(rates) - 1, rng)] for s, rates in self.rates.items()})

    @property
    def whole(self) -> list[Share]:
        """All views: what to validate on."""
        return self._shares(self.views)

    def at(self, drawn: Mapping[str, int]) -> list[Share]:
        """All tasks, at one rate for each stream."""
        return self._shares([v for v in self.views if all(drawn[s] == rate for s, rate in v.rates.items())])

    def _shares(self, views: Sequence[View]) -> list[Share]:
        of_task = {task: sum(view.task == task for view in views) for task in self.weights}
        return [Share(v, self.weights[v.task] / of_task[v.task], 1 / of_task[v.task]) for v in views]
