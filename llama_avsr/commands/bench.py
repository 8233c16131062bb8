"""Evaluate a model on a grid of noises, SNRs and damaged pictures."""

from __future__ import annotations

from dataclasses import replace

from llama_avsr import cli
from llama_avsr.options.programs import EVAL

PROGRAM = replace(
    EVAL,
    title=(
        "Evaluate a trained model on a grid: in every noise at every SNR, and with every damage to pictures. "
        "One table of all as CSV, JSON, Markdown and LaTeX, and a plot."
    ),
    examples="""\
  {program} --pretrained-model-path MODEL --root-dir DATA --noise-file babble.wav
  {program} --pretrained-model-path MODEL --root-dir DATA \\
      --test-noise speaker MUSAN/noise MUSAN/music --decode-snr-target 0 10 clean --test-damage none blur late
""",
    defaults={**EVAL.defaults, "noise_grid": True},
    leading=("checkpoints", "data", "augmentation"),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.run.debug)
    from llama_avsr.evaluation.run import evaluate  # heavy: after the flags are known to be right

    evaluate(parsed.options, parsed.explicit)
