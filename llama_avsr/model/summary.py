"""What a model consists of: how big each part is, and what of it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from llama_avsr.model.quantisation import scales

BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """One line of the table. A weight used by several parts belongs to the first of them."""

    name: str
    kind: str
    """The class of the part."""
    trained: int
    frozen: int
    dtypes: tuple[str, ...]
    """Of the parameters, the one that takes the most memory first."""
    num_bytes: int
    """Parameters and buffers, as they lie in memory, with the scales of quantised weights."""
    trained_bytes: int

    @property
    def parameters(self) -> int:
        return self.trained + self.frozen


@dataclass(frozen=True)
class ModelSummary:
    """The parts and their sum. `str()` gives an aligned table."""

    rows: tuple[PartSummary, ...]

    @property
    def total(self) -> PartSummary:
        return PartSummary(
            name="total",
            kind="",
            trained=sum(row.trained for row in self.rows),
            frozen=sum(row.frozen for row in self.rows),
            dtypes=(),
            num_bytes=sum(row.num_bytes for row in self.rows),
            trained_bytes=sum(row.trained_bytes for row in self.rows),
        )

    def __str__(self) -> str:
        header = ("part", "class", "parameters", "trained", "frozen", "dtype", "MB")
        rows = [_cells(row) for row in (*self.rows, self.total)]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [_line(cells, widths) for cells in (header, *rows)]
        rule = "-" * max(map(len, lines))
        total = self.total
        share = total.trained / total.parameters if total.parameters else 0.0
        trained = (
            f"trained: {100 * share:.2f} % of the parameters, {total.trained_bytes / BYTES_PER_MB:.2f} MB"
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], trained])


def summarise(model: nn.Module, parts: Mapping[str, nn.Module] | None = None) -> ModelSummary:
    """Count `model` part by part.

    parts: name -> module inside `model`, in the order wanted; by default the model's children. What no part
    holds is listed as `(rest)`. A tensor that several parts share is counted once, in the first.
    """
    parts = dict(model.named_children()) if parts is None else dict(parts)
    seen: set[int] = set()
    rows = [_summarise_part(name, type(part).__name__, part, seen) for name, part in parts.items()]
    rest = _summarise_part("(rest)", type(model).__name__, model, seen)
    return ModelSummary((*rows, rest) if rest.num_bytes else tuple(rows))


def _summarise_part(name: str, kind: str, part: nn.Module, seen: set[int]) -> PartSummary:
    parameters = _unseen(part.parameters(), seen)
    buffers = _unseen([*part.buffers(), *scales(part)], seen)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    bytes_of: dict[str, int] = {}
    for parameter in parameters:
        dtype = str(parameter.dtype).removeprefix("torch.")
        bytes_of[dtype] = bytes_of.get(dtype, 0) + parameter.nbytes
    return PartSummary(
        name=name,
        kind=kind,
        trained=sum(map(_num_elements, trained)),
        frozen=sum(map(_num_elements, frozen)),
        dtypes=tuple(sorted(bytes_of, key=lambda dtype: -bytes_of[dtype])),
        num_bytes=sum(tensor.nbytes for tensor in [*parameters, *buffers]),
        trained_bytes=sum(parameter.nbytes for parameter in trained),
    )


def _unseen(tensors: Iterable[Tensor], seen: set[int]) -> list[Tensor]:
    found = []
    for tensor in tensors:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found.append(tensor)
    return found


def _num_elements(parameter: Tensor) -> int:
    # bitsandbytes packs two 4-bit weights into a byte and keeps the shape they had beside them.
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def _cells(row: PartSummary) -> tuple[str, ...]:
    counts = (f"{count:,}" for count in (row.parameters, row.trained, row.frozen))
    return (row.name, row.kind, *counts, "+".join(row.dtypes), f"{row.num_bytes / BYTES_PER_MB:.2f}")


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    numbers = {2, 3, 4, 6}
    padded = [
        cell.rjust(width) if index in numbers else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
