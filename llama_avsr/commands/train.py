"""Train a model."""

from llama_avsr import cli


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, program="train")
    cli.setup_logging(parsed.options.run.debug)
    parsed.log_notes()
    from llama_avsr.training.run import train  # heavy: after the flags are known to be right

    train(parsed.options)
