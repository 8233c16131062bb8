"""The console command: `llama-avsr COMMAND ...`, or `python -m llama_avsr COMMAND ...`.

Each command is a module with `main(argv) -> int | None`, imported when it is called: listing them imports
nothing heavy.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

PROGRAM = "llama-avsr"
COMMANDS = {
    "train": ("llama_avsr.commands.train", "train a model"),
    "eval": ("llama_avsr.commands.evaluate", "evaluate a model on test sets"),
    "bench": ("llama_avsr.commands.bench", "evaluate a model on a grid of noises and damages"),
    "score": ("llama_avsr.commands.score", "score hypotheses of any system"),
    "compare": ("llama_avsr.commands.compare", "compare systems on one test list, with a verdict"),
    "report": ("llama_avsr.commands.report", "write scores, verdicts and worst clips into an HTML file"),
    "reproduce": ("llama_avsr.commands.reproduce", "evaluate a result again, and say what differs"),
    "align": ("llama_avsr.commands.align", "give a trained model word times and confidence"),
    "transcribe": ("llama_avsr.commands.transcribe", "transcribe videos, or serve a page that does"),
    "prepare": ("llama_avsr.commands.prepare", "make, convert or check data sets"),
    "pretrain-video": ("llama_avsr.commands.pretrain_video", "train an encoder of lips from scratch"),
    "pretrain-speech-rate": (
        "llama_avsr.commands.pretrain_speech_rate",
        "train a predictor of how fast somebody speaks",
    ),
    "convert": ("llama_avsr.commands.convert", "convert a published checkpoint to one of this project"),
    "export": ("llama_avsr.commands.export", "export the adapters or the merged LLM of a checkpoint"),
    "push": ("llama_avsr.commands.push", "upload a model to the Hugging Face hub"),
    "demo": ("llama_avsr.commands.demo", "train and evaluate on a synthetic corpus made on the spot"),
}
"""Name -> module, description."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code, 2 for a user's error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if words else 2)
    name, *rest = words
    if name not in COMMANDS:
        print(f"{PROGRAM}: unknown command {name!r}{_suggestion(name)}", file=sys.stderr)
        sys.exit(2)
    from llama_avsr import cli  # a third of a second

    # Help texts and errors name the program as it was called.
    sys.argv = [f"{PROGRAM} {name}", *rest]
    cli.run(importlib.import_module(COMMANDS[name][0]).main, rest)


def usage() -> str:
    """What `--help` prints."""
    width = max(map(len, COMMANDS))
    lines = [
        f"usage: {PROGRAM} COMMAND ...",
        "",
        "Speech recognition with large language models, from sound, lips, or both.",
        "",
        "commands:",
        *(f"  {name:{width}}  {description}" for name, (_, description) in COMMANDS.items()),
        "",
        f"{PROGRAM} COMMAND --help describes a command and its flags.",
    ]
    return "\n".join(lines)


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; expected one of {', '.join(COMMANDS)}"


if __name__ == "__main__":
    main()
