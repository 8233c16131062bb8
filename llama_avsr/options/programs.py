"""The programs: what --help says of each, and how its command line differs from the others'."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_avsr.options.data import EVALUATION_FILES
from llama_avsr.options.groups import SCHEMA, Options
from llama_avsr.options.schema import Schema


@dataclass(frozen=True, kw_only=True)
class Program:
    """One command line."""

    name: str
    """What `Scope.programs` calls it."""
    title: str
    examples: str = ""
    """`{program}` stands for how the user called it."""
    words: str = "[flags]"
    """What stands behind the program's name in the usage line."""
    note: str = ""
    """A paragraph of --help below the spelling rules."""
    schema: Schema = SCHEMA
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where they differ from the declared ones."""
    has_checkpoint: bool = False
    """Whether a checkpoint brings the options that define the model."""
    leading: Collection[str] = ()
    """Groups that --help shows first."""
    check: Callable[[Any], Iterable[str]] = lambda options: ()
    """What contradicts itself in the options of a command line, one line each."""

    def default_options(self) -> Any:
        return self.schema.updated(self.schema.cls(), self.defaults)


SETTLED = """\
What defines the model is read from its checkpoint; a flag that contradicts it is an error.
--help-all lists these flags too (published checkpoints need them), and those without effect here.
"""
TRAIN = Program(
    name="train",
    title="Train a speech recogniser with a language model, from sound, lips, or both.",
    examples="""\
  {program} --root-dir DATA --modality audio --exp-name asr \\
      --audio-encoder-name openai/whisper-medium.en --llm-model meta-llama/Llama-3.2-1B \\
      --add_PETF_LLM lora --reduction_lora 64 --alpha 8 --noise-file babble.wav
  {program} --config recipe.yaml --lr 5e-4 --gpus 8 --print-config
""",
)
EVAL = Program(
    name="eval",
    title="Evaluate a trained model: word error rate with its confidence interval, and hypotheses.",
    examples="""\
  {program} --pretrained-model-path MODEL --root-dir DATA
  {program} --pretrained-model-path MODEL --root-dir DATA \\
      --noise-file babble.wav --decode-snr-target 0 --output-dir results_0dB
""",
    note=SETTLED,
    defaults=EVALUATION_FILES,
    has_checkpoint=True,
    leading=("checkpoints", "data"),
)
TRANSCRIBE = Program(
    name="transcribe",
    title="Transcribe videos or sound files: text, times, subtitles.",
    examples="""\
  {program} talk.mp4 --pretrained-model-path MODEL
  {program} *.mp4 --pretrained-model-path MODEL --output-dir texts --save-overlay
  {program} --serve --pretrained-model-path MODEL
  {program} --live --pretrained-model-path MODEL
  {program} --serve-api --api-key-file keys.txt --pretrained-model-path MODEL
""",
    words="VIDEO ... [flags]",
    note=SETTLED,
    defaults={**EVALUATION_FILES, "max_dec_tokens": 256},  # a segment may be longer than a clip of a test set
    has_checkpoint=True,
    leading=("transcribing", "faces", "captions", "serving", "api", "checkpoints"),
)
PROGRAMS = {program.name: program for program in (TRAIN, EVAL, TRANSCRIBE)}


def defaults(program: str) -> Options:
    """The options of `train`, `eval` or `transcribe` before anyone sets one."""
    return PROGRAMS[program].default_options()
