"""The text of --help."""

from __future__ import annotations

import textwrap
from typing import Any

from llama_avsr.options.checks import NEEDED, is_idle
from llama_avsr.options.fields import Field
from llama_avsr.options.groups import FIELDS, GROUPS, Options, defaults
from llama_avsr.options.saved import MODEL_FIELDS, MODEL_GROUPS
from llama_avsr.options.transcribing import TRANSCRIBING, VIDEOS
from llama_avsr.options.values import metavar

WIDTH = 92
UNBROKEN = 84
"""A tag shorter than this stays on one line."""
NO_BREAK = "\0"

TITLES = {
    "train": "Train a speech recogniser with a language model, from sound, lips, or both.",
    "eval": "Evaluate a trained model: word error rate, hypotheses, and how sure the figures are.",
    "transcribe": "Write down what is said in videos (or sound files): text, times, subtitles.",
}
EXAMPLES = {
    "train": """
  {program} --root-dir DATA --modality audio --exp-name asr \\
      --audio-encoder-name openai/whisper-medium.en --llm-model meta-llama/Llama-3.2-1B \\
      --add_PETF_LLM lora --reduction_lora 64 --alpha 8 --noise-file babble.wav
  {program} --config recipe.yaml --lr 5e-4 --gpus 8 --print-config
""",
    "eval": """
  {program} --pretrained-model-path MODEL --root-dir DATA
  {program} --pretrained-model-path MODEL --root-dir DATA \\
      --noise-file babble.wav --decode-snr-target 0 --output-dir results_0dB
""",
    "transcribe": """
  {program} talk.mp4 --pretrained-model-path MODEL
  {program} *.mp4 --pretrained-model-path MODEL --output-dir texts --save-overlay
  {program} --serve --pretrained-model-path MODEL
""",
}
USAGE = """\
Spelling: --max-epochs and --max_epochs are one flag. Booleans: --x, --x True, --x False, --no-x.
Lists: --x a b, or --x a,b. `none` leaves a flag unset.

  --config FILE      Options from YAML; may be repeated, the later wins, the command line last.
  --print-config     Print the resulting options as YAML, which --config reads, and exit.
  -h, --help         Print this and exit.
"""
EVALUATION_HINT = """\
What defines the model is read from its checkpoint; a flag that contradicts it is an error. Flags of
training are accepted and have no effect; train_LLM.py --help describes them.
"""


def help_text(program: str, program_name: str) -> str:
    """All flags of `train`, `eval` or `transcribe`, grouped."""
    words = "VIDEO ... [flags]" if program == "transcribe" else "[flags]"
    parts = [f"usage: {program_name} {words}", TITLES[program]]
    parts.append("Examples:" + EXAMPLES[program].rstrip().format(program=f"python {program_name}"))
    parts.append(USAGE.rstrip())
    if program != "train":
        parts.append(EVALUATION_HINT.rstrip())
    options = defaults(program)
    for group, cls in sorted(GROUPS, key=lambda entry: _rank(entry[0], program)):
        shown = [field for field in FIELDS.values() if field.group == group and _is_shown(field, program)]
        if shown:
            entries = [_flag_help(field, _tag(field, options, program)) for field in shown]
            parts.append("\n".join([f"{cls.__doc__}:", *entries]))
    return "\n\n".join(parts) + "\n"


def _rank(group: str, program: str) -> int:
    """What a program's user is likely to set comes first; otherwise groups keep their order."""
    if program != "transcribe":
        return 0
    return 0 if group in (*TRANSCRIBING, "checkpoints") else 2 if group in MODEL_GROUPS else 1


def _is_shown(field: Field, program: str) -> bool:
    return not is_idle(field.name, program)


def _flag_help(field: Field, tag: str) -> str:
    if field.name == VIDEOS:
        head = "  VIDEO ..."
    elif field.is_bool:
        head = f"  {field.flag}, --no-{field.flag.removeprefix('--')}"
    else:
        head = f"  {field.flag} {metavar(field.hint)}"
    text = f"{field.help} {tag}".strip()
    indent = " " * 6
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return "\n".join([head, *lines]).replace(NO_BREAK, " ")


def _tag(field: Field, options: Options, program: str) -> str:
    """`[needed]`, `[default: ...]`; short ones keep to one line."""
    if field.name in (*NEEDED[program], VIDEOS):
        return "[needed]"
    from_checkpoint = program != "train" and field.name in MODEL_FIELDS
    default = "as trained" if from_checkpoint else _shown(options[field.name])
    tag = f"[default: {default}]" if default else ""
    return tag.replace(" ", NO_BREAK) if len(tag) < UNBROKEN else tag


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.6g}" if value < 1e5 else f"{value:.0f}"
    return "" if value is None else str(value)
