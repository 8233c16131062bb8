"""Word errors equal to those of NIST's sclite: a recorded case, and random ones where it is installed."""

from __future__ import annotations

import csv
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llama_avsr.commands import score as command
from llama_avsr.evaluation.hypotheses import read
from llama_avsr.evaluation.hypotheses.nist import ctm, stm, trn
from llama_avsr.evaluation.metrics.sclite import sclite_edits
from llama_avsr.evaluation.metrics.wer import word_edits

CASE = Path(__file__).parent / "sclite"
SCLITE = shutil.which("sclite") or shutil.which("/usr/lib/sctk/bin/sclite")
Counts = tuple[int, int, int]


def counted(references: list[str], hypotheses: list[str]) -> list[Counts]:
    edits = sclite_edits(references, hypotheses)
    return [(one.substitutions, one.deletions, one.insertions) for one in edits]


def recorded() -> dict[str, Counts]:
    with (CASE / "counts.csv").open() as file:
        return {
            row["id"]: (int(row["substitutions"]), int(row["deletions"]), int(row["insertions"]))
            for row in csv.DictReader(file)
        }


def test_the_recorded_counts() -> None:
    references, hypotheses = read(CASE / "reference.trn"), read(CASE / "hypothesis.trn")
    assert references.ids == hypotheses.ids
    found = dict(zip(references.ids, counted(references.hypotheses, hypotheses.hypotheses), strict=True))
    assert len(found) == 64
    assert found == recorded()
    # The case tells the two countings apart.
    fewest = word_edits(references.hypotheses, hypotheses.hypotheses)
    assert sum(edits.substitutions for edits in fewest) > sum(counts[0] for counts in found.values()) == 59


def test_what_was_given_to_sclite_is_what_is_written() -> None:
    for side in ("reference", "hypothesis"):
        texts = read(CASE / f"{side}.trn")
        assert (CASE / f"{side}.trn").read_text() == trn(texts.ids, texts.hypotheses)
    references, hypotheses = read(CASE / "reference.trn"), read(CASE / "hypothesis.trn")
    seconds = [2.0] * 64
    assert (CASE / "reference.stm").read_text() == stm(references.ids, references.hypotheses, seconds)
    assert (CASE / "hypothesis.ctm").read_text() == ctm(hypotheses.ids, hypotheses.hypotheses, seconds)
    spoken = {one: text for one, text in zip(hypotheses.ids, hypotheses.hypotheses, strict=True) if text}
    found = read(CASE / "hypothesis.ctm")
    assert dict(zip(found.ids, found.hypotheses, strict=True)) == spoken


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(CASE / "hypothesis.trn"), "--references", str(CASE / "reference.trn")]
    command.main([*files, "--alignment", "sclite"])
    said = capsys.readouterr().out
    assert "249 in 312 words: 59 substituted, 115 deleted, 75 inserted" in said
    assert "counts of sclite" in said
    command.main(files)
    assert "249 in 312 words: 63 substituted, 113 deleted, 73 inserted" in capsys.readouterr().out


@pytest.mark.skipif(SCLITE is None, reason="needs sclite (Debian: apt install sctk)")
def test_random_texts_against_sclite_itself(tmp_path: Path) -> None:
    rng = random.Random(3)
    words = [["a", "b", "c", "d", "e"][: rng.choice([2, 3, 4, 5])] for _ in range(1000)]
    ids = [f"s-{number}" for number in range(len(words))]
    # sclite leaves out clips without a word on either side.
    references = [" ".join(rng.choices(some, k=rng.randint(1, 9))) for some in words]
    hypotheses = [" ".join(rng.choices(some, k=rng.randint(0, 9))) for some in words]
    (tmp_path / "r.trn").write_text(trn(ids, references))
    (tmp_path / "h.trn").write_text(trn(ids, hypotheses))
    flags = ["-s", "-r", "r.trn", "trn", "-h", "h.trn", "trn", "-i", "spu_id", "-o", "pralign", "stdout"]
    done = subprocess.run([SCLITE, *flags], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = re.findall(r"id: \((\S+)\)\nScores: \(#C #S #D #I\) \d+ (\d+) (\d+) (\d+)", done.stdout)
    expected = {one: tuple(map(int, counts)) for one, *counts in rows}
    assert dict(zip(ids, counted(references, hypotheses), strict=True)) == expected
