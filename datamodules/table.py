"""The clips of a label file, held as the file's own bytes: an `Utterance` is made when it is asked for.

Loader workers are forked off and share the arrays: reading them writes nothing, not even a reference count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from datamodules.batch import Utterance

NEWLINE = 10
BLOCK = 4096
"""Lines decoded at once where all are asked for."""


class Lines(Sequence[str]):
    """Lines of UTF-8 packed into one array, four bytes each beside their own."""

    def __init__(self, content: bytes) -> None:
        """content: lines that end with "\\n"; the last need not."""
        self._content = content if content.endswith(b"\n") or not content else content + b"\n"
        ends = np.flatnonzero(np.frombuffer(self._content, np.uint8) == NEWLINE)
        self._bounds = np.concatenate(([0], ends + 1)).astype(
            np.uint32 if len(self._content) < 2**32 else np.int64
        )

    @classmethod
    def of(cls, texts: Iterable[str]) -> Lines:
        """texts: without line ends."""
        return cls("".join(f"{text}\n" for text in texts).encode())

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> str:
        start, stop = self._bounds[range(len(self))[index] :][:2].tolist()
        return self._content[start : stop - 1].decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            stop = min(start + BLOCK, len(self))
            yield from self._content[self._bounds[start] : self._bounds[stop] - 1].decode().split("\n")

    def between(self, start: int, stop: int) -> Lines:
        """Lines [start, stop), sharing their bytes with these."""
        part = object.__new__(Lines)
        part._content, part._bounds = self._content, self._bounds[start : stop + 1]
        return part


class Utterances(Sequence[Utterance]):
    """Clips in order, with what is asked of all of them in arrays.

    make: the clip of a row of the label file.
    num_frames, has_text: of each row, [rows]; see `Utterance`.
    have_units: whether all have `run_lengths`.
    rows: those of the label file that are in here; None: all.
    """

    def __init__(
        self,
        make: Callable[[int], Utterance],
        num_frames: Sequence[int],
        has_text: Sequence[bool],
        have_units: bool = False,
        rows: np.ndarray | None = None,
    ) -> None:
        self._make = make
        self._rows = rows
        self.num_frames = np.asarray(num_frames, dtype=np.int64)
        self.has_text = np.asarray(has_text, dtype=bool)
        self.have_units = have_units

    @classmethod
    def of(cls, clips: Sequence[Utterance]) -> Utterances:
        """`clips`, or a list of them looked at in this way."""
        if isinstance(clips, Utterances):
            return clips
        return cls(
            clips.__getitem__,
            [clip.num_frames for clip in clips],
            [clip.has_text for clip in clips],
            all(clip.run_lengths is not None for clip in clips),
        )

    def __len__(self) -> int:
        return len(self.num_frames)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray) -> Utterances: ...

    def __getitem__(self, index: int | slice | np.ndarray) -> Utterance | Utterances:
        """A clip; or those of a slice, of a mask, or of several places."""
        if isinstance(index, slice | np.ndarray):
            rows = np.arange(len(self), dtype=np.uint32) if self._rows is None else self._rows
            return Utterances(
                self._make, self.num_frames[index], self.has_text[index], self.have_units, rows[index]
            )
        index = range(len(self))[index]
        return self._make(index if self._rows is None else int(self._rows[index]))

    def __iter__(self) -> Iterator[Utterance]:
        return map(self._make, range(len(self)) if self._rows is None else self._rows.tolist())
