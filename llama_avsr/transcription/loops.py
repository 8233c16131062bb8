"""Language models that lose the thread say one thing again and again: how that is told from speech."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from datamodules.batch import VIDEO_FPS
from llama_avsr.model.decoding import Hypothesis
from llama_avsr.transcription.batches import Piece, sound_of
from llama_avsr.transcription.segments import cut_long, levels_db

MAX_PHRASE = 8
"""Words."""
MIN_REPEATS = 4
"""People say "no no no"."""
MIN_REPEATS_UNFINISHED = 3
"""Of a text that went on until it ran out of tokens."""
MAX_TOKENS_PER_SECOND, MIN_TOKENS = 50, 16
"""Of speech in any script: a tokenizer that spells in bytes needs three for a letter."""
MIN_CUT_FRAMES = 50
"""A shorter segment is not cut once more."""
MIN_COMPRESSED_BYTES = 60
MAX_COMPRESSION = 2.4
"""A text that zlib makes smaller than its so-manieth part repeats itself (Radford et al., 2022)."""


def most_tokens(num_frames: int) -> int:
    """More than anybody says in so many frames: what writes on is in a loop, and holds up the rest."""
    return MIN_TOKENS + math.ceil(MAX_TOKENS_PER_SECOND * num_frames / VIDEO_FPS)


def is_loop(text: str, finished: bool = True) -> bool:
    """Whether a text says the same over and over.

    >>> is_loop("okay okay okay okay"), is_loop("okay okay okay"), is_loop("okay okay okay", finished=False)
    (True, False, True)
    >>> is_loop("so we go so we go so we go so we go home"), is_loop("no no no we do not go")
    (True, False)
    """
    words = text.split()
    least = MIN_REPEATS if finished else MIN_REPEATS_UNFINISHED
    if any(_repeats(words, length) >= least for length in range(1, MAX_PHRASE + 1)):
        return True
    written = text.encode()
    return len(written) >= MIN_COMPRESSED_BYTES and len(written) > MAX_COMPRESSION * len(
        zlib.compress(written)
    )


class Loops:
    """What is done about the loops of one recording, counted."""

    def __init__(self) -> None:
        self.replaced = 0
        """Segments whose next best hypothesis was taken."""
        self.cut = 0
        self.left_out: list[Piece] = []

    def sorted_out(self, nbest: Sequence[Hypothesis], decode: Callable[[list[int]], str]) -> list[Hypothesis]:
        """The hypotheses that say something, in their order; none where all are loops."""
        kept = [one for one in nbest if not is_loop(decode(one.ids), one.finished)]
        self.replaced += bool(kept) and kept[0] is not nbest[0]
        return kept

    def halves(self, piece: Piece, waveform: np.ndarray | None) -> list[Piece]:
        """A piece that is a loop in two, cut where it is quietest; nothing of one that is short already."""
        length = piece.stop - piece.start
        if length < MIN_CUT_FRAMES:
            self.left_out.append(piece)
            return []
        self.cut += 1
        levels = np.zeros(length)
        if waveform is not None:
            heard = sound_of(piece, waveform).numpy()
            levels = levels_db(heard)
        spans = cut_long([(0, length)], levels, -(-2 * length // 3))
        return [replace(piece, start=piece.start + start, stop=piece.start + stop) for start, stop in spans]

    @property
    def notes(self) -> list[str]:
        told = []
        if self.replaced:
            told.append(f"the model repeated itself in {self.replaced} segments: the next best was taken")
        if self.cut:
            told.append(f"the model repeated itself in {self.cut} segments: they were cut shorter")
        if self.left_out:
            times = ", ".join(f"{one.start / VIDEO_FPS:.1f} s" for one in self.left_out[:5])
            told.append(
                f"the model did nothing but repeat itself in {len(self.left_out)} segments (from {times}): "
                "nothing is written"
            )
        return told


def _repeats(words: Sequence[str], length: int) -> int:
    """How often a phrase of `length` words comes in a row, at most."""
    most = run = 0
    for index in range(length, len(words)):
        run = run + 1 if words[index] == words[index - length] else 0
        most = max(most, run)
    return 1 + most // length if words else 0
