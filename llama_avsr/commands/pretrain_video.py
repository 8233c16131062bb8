"""Train an AV-HuBERT to read lips, where none exists for a language or a domain."""

from __future__ import annotations

from llama_avsr import cli
from llama_avsr.options.pretraining import SCHEMA, problems
from llama_avsr.options.programs import Program

PROGRAM = Program(
    name="train",  # whose options it shares
    title=(
        "Train an AV-HuBERT encoder to read lips, from a corpus' own clips, where no published one fits the "
        "language or the domain. The result, RUN/av_hubert, is taken wherever a published checkpoint is: "
        "--pretrain-avhubert-enc-video-path."
    ),
    examples="""\
  {program} --root-dir DATA --train-file train.csv --val-file val.csv --exp-name lips
  {program} --config recipes/grid/lips.yaml --root-dir data/grid
""",
    schema=SCHEMA,
    leading=("data", "network", "target"),
    check=problems,
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.run.debug)
    parsed.log_notes()
    from llama_avsr.pretraining.run import pretrain  # heavy: after the flags are known to be right

    pretrain(parsed.options)
