"""Evaluate a model."""

from llama_avsr import cli


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, program="eval")
    cli.setup_logging(parsed.options.run.debug)
    from llama_avsr.evaluation.run import evaluate  # heavy: after the flags are known to be right

    evaluate(parsed.options, parsed.explicit)
