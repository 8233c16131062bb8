"""Train a predictor of how fast somebody speaks, for --compression-mode qformer."""

from __future__ import annotations

from llama_avsr import cli
from llama_avsr.options.programs import Program
from llama_avsr.options.speech_rate import SCHEMA, problems

PROGRAM = Program(
    name="train",  # whose options it shares
    title=(
        "Train a small predictor of speech rates, words a second of the transcripts, on the frames of a "
        "frozen encoder of sound. The result, RUN/speech_rate.safetensors, is for --speech-rate-predictor, "
        "with the same encoder."
    ),
    examples="""\
  {program} --root-dir DATA --train-file train.tsv --val-file valid.tsv \\
      --audio-encoder-name openai/whisper-medium.en --whisper-waveform as-read --lr 1e-4 --exp-name rate
""",
    schema=SCHEMA,
    leading=("data", "encoder", "predictor"),
    check=problems,
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.run.debug)
    parsed.log_notes()
    from llama_avsr.pretraining.speech_rate import pretrain  # heavy: after the flags are known to be right

    pretrain(parsed.options)
