"""Write down what is said in videos. `python transcribe.py --help` lists the flags."""

from llama_avsr import cli


def main(argv: list[str]) -> int:
    parsed = cli.parse(argv, program="transcribe")
    cli.setup_logging(parsed.options.run.debug)
    from llama_avsr.transcription.program import run  # heavy: after the flags are known to be right

    return run(parsed.options, parsed.explicit)


if __name__ == "__main__":
    cli.run(main)
