"""Compare systems on one test list: which is better, by how much, and whether that may be chance."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.scoring import ReferenceOptions, ScoringOptions
from llama_avsr.options.values import NonNegativeInt


@group()
class CompareOptions:
    """Comparison"""

    results: tuple[Path, ...] = option((), positional=True, required=True)
    """Two or more: runs, or folders of results folders, which are compared condition by condition; results
    folders of this project (hypotheses.csv); files of hypotheses (.csv, .json, .jsonl, .trn, .ctm,
    fairseq's)."""
    metric: Literal["wer", "cer", "bleu"] = "wer"
    """Score to compare by."""
    all_pairs: bool = False
    """Compare each with each. Default: all others with the first."""
    show: NonNegativeInt = 3
    """Number of changed clips to print for each comparison, those that changed most."""
    output_dir: Path | None = None
    """Folder for comparison.json and changed.csv, which lists all changed clips. Default: print only."""


@dataclass(frozen=True, kw_only=True)
class Options:
    compare: CompareOptions = field(default_factory=CompareOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    truth: ReferenceOptions = field(default_factory=ReferenceOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


def _problems(options: Options) -> list[str]:
    count = len(options.compare.results)
    if 2 <= count <= len(string.ascii_uppercase) or not count:
        return []
    return [f"RESULTS: found {count}, expected two to {len(string.ascii_uppercase)}"]


PROGRAM = Program(
    name="compare",
    title=(
        "Compare systems on the same clips: paired bootstrap over clips and over speakers, the matched-pairs "
        "test of NIST, and a verdict. A difference is claimed where all of them agree, at the 5 % level "
        "corrected for the number of comparisons."
    ),
    examples="""\
  {program} runs/a/results/average/test runs/b/results/average/test
  {program} runs/a runs/b
  {program} ours/test theirs.trn --references test.trn --normalise lower
""",
    words="RESULTS RESULTS ... [flags]",
    schema=Schema(Options),
    check=_problems,
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options)


def run(options: Options) -> None:
    """Print the verdicts, and write them where asked. Raises ValueError for what cannot be compared."""
    from llama_avsr.evaluation.comparison import outputs  # heavy
    from llama_avsr.evaluation.comparison.compare import compare
    from llama_avsr.evaluation.comparison.results import read_conditions
    from llama_avsr.evaluation.hypotheses import read
    from llama_avsr.evaluation.normalisation import normalisation

    asked, scoring, truth = options.compare, options.scoring, options.truth.references
    sources = dict(zip(string.ascii_uppercase, map(str, asked.results), strict=False))
    tests, notes = read_conditions(asked.results)
    normalised = normalisation(scoring.normalise)
    comparisons, more = compare(
        tests,
        list(sources),
        metric=asked.metric,
        normalisation=normalised,
        references=None if truth is None else read(truth),
        speaker_pattern=scoring.speaker_pattern,
        all_pairs=asked.all_pairs,
    )
    notes += more
    print(outputs.screen(comparisons, sources, normalised.said, notes, asked.show))
    if asked.output_dir is not None:
        outputs.write(asked.output_dir, comparisons, sources, normalised.said, notes)
