"""What fairseq's decoders write: lines `T-12<TAB>text`, `H-12<TAB>score<TAB>text`, or a JSON of columns."""

from __future__ import annotations

import re
from pathlib import Path

from llama_avsr.evaluation.hypotheses import tables
from llama_avsr.evaluation.hypotheses.texts import Texts

_LINE = re.compile(r"([TDH])-(\d+)\t(.*)")


def read(text: str, path: Path) -> Texts:
    """In the order of the data set, which the numbers give. `D-` lines, detokenised, are preferred to `H-`.

    Of several hypotheses of a clip the first counts, the best.
    """
    if text.lstrip().startswith(("{", "[")):
        return tables.read_json(text, path)
    found: dict[str, dict[int, str]] = {"T": {}, "D": {}, "H": {}}
    for line in text.splitlines():
        matched = _LINE.fullmatch(line)
        if matched is None:
            continue
        kind, number, rest = matched[1], int(matched[2]), matched[3]
        words = rest if kind == "T" else rest.partition("\t")[2]
        found[kind].setdefault(number, words)
    hypotheses = {**found["H"], **found["D"]}
    if not hypotheses:
        raise ValueError(
            f"{path}: found no lines such as H-0<TAB>score<TAB>text; expected those of fairseq, or "
            "a file named .csv, .json, .trn or .ctm"
        )
    numbers = sorted(hypotheses)
    references = [found["T"].get(number) for number in numbers]
    return Texts(
        source=str(path),
        ids=[str(number) for number in numbers],
        hypotheses=[hypotheses[number] for number in numbers],
        references=None if None in references else references,
    )
