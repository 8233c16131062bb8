"""NIST's formats, which sclite scores: `.trn`, a line of words with its id in brackets, and `.ctm`, words
with times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from llama_avsr.evaluation.hypotheses.texts import Texts

_TRN = re.compile(r"(.*?)\s*\(([^()]*)\)\s*")
COMMENT = ";;"


def read_trn(text: str, path: Path) -> Texts:
    ids, words = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        found = _TRN.fullmatch(line)
        if found is None:
            raise ValueError(f"{path}:{number}: expected words and (id), found {line[:80]!r}")
        if {"{", "}"} & set(found[1].split()):
            raise ValueError(f"{path}:{number}: found alternatives in braces; expected one wording")
        words.append(found[1].strip())
        ids.append(found[2].strip())
    return Texts(source=str(path), ids=ids, hypotheses=words)


def read_ctm(text: str, path: Path) -> Texts:
    """Words in the order of their times; the id is the file, with its channel unless that is 1 or A."""
    words: dict[str, list[tuple[float, int, str]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith((COMMENT, "#")):
            continue
        fields = line.split()
        try:
            name, channel, start, _, word = fields[:5]
            seconds = float(start)
        except ValueError:
            raise ValueError(
                f"{path}:{number}: expected file, channel, start, duration and word, found {line[:80]!r}"
            ) from None
        key = name if channel in ("1", "A") else f"{name}-{channel}"
        words.setdefault(key, []).append((seconds, number, word))
    texts = [" ".join(word for *_, word in sorted(of_clip)) for of_clip in words.values()]
    return Texts(source=str(path), ids=list(words), hypotheses=texts, omits_silent=True)


def trn(ids: Sequence[str], texts: Sequence[str]) -> str:
    """A line per clip. Raises ValueError for ids and words that the format cannot hold."""
    lines = []
    for one, text in zip(ids, texts, strict=True):
        if set("()\n") & set(one):
            raise ValueError(f"{one}: found brackets in an id; a .trn cannot hold it")
        lines.append(f"{' '.join(text.split())} ({one})\n")
    return "".join(lines)


def stm(ids: Sequence[str], texts: Sequence[str], seconds: Sequence[float]) -> str:
    """A segment per clip, to which the words of a .ctm belong by their times."""
    return "".join(
        f"{one} 1 {one} 0.000 {length:.3f} {' '.join(text.split())}\n"
        for one, text, length in zip(ids, texts, seconds, strict=True)
    )


def ctm(ids: Sequence[str], texts: Sequence[str], seconds: Sequence[float]) -> str:
    """A line per word, the words spread evenly over their clip: the models give no times."""
    lines = [f"{COMMENT} no word times: words are spread evenly over their clip\n"]
    for one, text, length in zip(ids, texts, seconds, strict=True):
        words = text.split()
        if any(char.isspace() for char in one) or not math.isfinite(length):
            raise ValueError(f"{one!r}, {length} s: expected an id without spaces, and a length")
        step = length / max(1, len(words))
        lines += [f"{one} 1 {place * step:.3f} {step:.3f} {word}\n" for place, word in enumerate(words)]
    return "".join(lines)
