"""Score hypotheses of any system: error rates with intervals, by length and speaker, and which words are
confused."""

from __future__ import annotations

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
class ScoreOptions:
    """Score"""

    results: Path | None = option(None, positional=True, required=True)
    """A results folder of this project (hypotheses.csv), or a file of hypotheses (.csv, .json, .jsonl, .trn,
    .ctm, fairseq's)."""
    metric: Literal["wer", "bleu", "cpwer"] = "wer"
    """wer counts words and characters; bleu scores translations, and gives chrF too; cpwer scores meetings
    of several speakers: RESULTS and --references are then .stm, SegLST's or transcribe.py's .json, or a
    folder of these transcripts."""
    alignment: Literal["fewest", "sclite"] = option("fewest", when=lambda o: o.score.metric == "wer")
    """Of the alignments of a clip, that with the fewest errors counts, or the one that NIST's sclite -s
    takes, in which a substitution weighs 4 and an insertion or deletion 3."""
    lips: bool = False
    """Say of confused words whether they look alike on the lips. English only; needs espeak-ng, which the
    extra `demo` brings."""
    show: NonNegativeInt = 10
    """Number of speakers and of confusions to print."""
    output_dir: Path | None = None
    """Folder for score.json, reference.trn and hypothesis.trn and, where the lengths of clips are known,
    reference.stm and hypothesis.ctm, as NIST's sclite takes them. Default: print only."""


@dataclass(frozen=True, kw_only=True)
class Options:
    score: ScoreOptions = field(default_factory=ScoreOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    truth: ReferenceOptions = field(default_factory=ReferenceOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="score",
    title="Score hypotheses, made by this project or not.",
    examples="""\
  {program} runs/a/results/average/test --lips
  {program} texts --metric cpwer --references meetings.stm
  {program} theirs.trn --references test.trn --normalise whisper-english --output-dir scored
""",
    words="RESULTS [flags]",
    schema=Schema(Options),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options)


def run(options: Options) -> None:
    """Print the scores, and write them where asked. Raises ValueError for what cannot be scored."""
    from llama_avsr.evaluation.hypotheses import read  # heavy
    from llama_avsr.evaluation.normalisation import normalisation
    from llama_avsr.evaluation.scoring import scored, screen, write

    asked, truth = options.score, options.truth.references
    if asked.metric == "cpwer":
        _score_meetings(options)
        return
    lips_of = None
    if asked.lips:
        from llama_avsr.demo.corpus.lips_of_words import lips_of
    found = scored(
        read(asked.results),
        None if truth is None else read(truth),
        metric_name=asked.metric,
        normalisation=normalisation(options.scoring.normalise),
        speaker_pattern=options.scoring.speaker_pattern,
        lips=lips_of,
        as_sclite=asked.alignment == "sclite" and asked.metric == "wer",
    )
    print(screen(found, asked.show))
    if asked.output_dir is not None:
        write(asked.output_dir, found)


def _score_meetings(options: Options) -> None:
    from llama_avsr.evaluation.meetings import cpwer, files
    from llama_avsr.evaluation.normalisation import normalisation

    asked, truth = options.score, options.truth.references
    if truth is None:
        raise ValueError("--metric cpwer needs --references, a file that says who said what")
    chosen = normalisation(options.scoring.normalise)
    found = cpwer.scored(files.read(asked.results), files.read(truth), chosen.apply, chosen.said)
    print(cpwer.screen(found, asked.show))
    if asked.output_dir is not None:
        cpwer.write(asked.output_dir, found)
