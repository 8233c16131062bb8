"""Write scores, verdicts, and the worst and changed clips of systems into one HTML file."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.scoring import ScoringOptions
from llama_avsr.options.values import PositiveInt


@group()
class ReportOptions:
    """Report"""

    results: tuple[Path, ...] = option((), positional=True, required=True)
    """Runs, results folders, folders of them, or files of hypotheses with references, as `llama-avsr compare`
    takes them; two or more are compared with the first."""
    out: Path = Path("report.html")
    """File to write. It needs no network; sound and mouths of the clips it shows are in it, where they are on
    this machine and small."""
    show: PositiveInt = 10
    """Number of clips to show of each system's worst, and of those that changed most."""


@dataclass(frozen=True, kw_only=True)
class Options:
    report: ReportOptions = field(default_factory=ReportOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="report",
    title="Write scores, verdicts, and the worst and changed clips of recognisers into one HTML file.",
    examples="""\
  {program} runs/a --out a.html
  {program} runs/a/results/average/test runs/b/results/average/test theirs.csv
""",
    words="RESULTS ... [flags]",
    schema=Schema(Options),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options)


def run(options: Options) -> None:
    """Raises ValueError for what cannot be read, or compared."""
    from datamodules.files import write_whole  # heavy
    from llama_avsr.evaluation.comparison.compare import compare
    from llama_avsr.evaluation.comparison.results import read_conditions
    from llama_avsr.evaluation.html_report import page, system
    from llama_avsr.evaluation.normalisation import normalisation

    asked, pattern = options.report, options.scoring.speaker_pattern
    names = string.ascii_uppercase[: len(asked.results)]
    normalised = normalisation(options.scoring.normalise)
    tests, notes = read_conditions(asked.results)
    systems = [
        system(name, condition, texts, normalised, pattern)
        for condition, of_condition in tests.items()
        for name, texts in zip(names, of_condition, strict=True)
    ]
    comparisons, more = compare(tests, names, normalisation=normalised, speaker_pattern=pattern)
    write_whole(asked.out, page(systems, comparisons, asked.show))
    for note in (*notes, *more):
        print(f"note  {note}")
    print(f"{asked.out} ({asked.out.stat().st_size / 1e6:.1f} MB)")
