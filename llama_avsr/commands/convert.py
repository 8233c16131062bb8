"""Convert a published checkpoint to one of this project."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr import cli
from llama_avsr.options import FIELDS, Options
from llama_avsr.options.fields import group, option
from llama_avsr.options.groups import KINDS
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class ReleaseOptions:
    """Conversion"""

    released: Path | None = option(None, positional=True, required=True)
    """Published checkpoint, a .pth file."""
    folder: Path | None = option(None, positional=True, required=True)
    """Folder to write the checkpoint to."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Options):
    """A published file holds no options: those of its model are given beside it."""

    release: ReleaseOptions = field(default_factory=ReleaseOptions)


PROGRAM = Program(
    name="convert",
    title="Convert a published checkpoint to one of this project. Its README names the flags of its model.",
    examples="""\
  {program} released.pth released --modality audio \\
      --audio-encoder-name openai/whisper-medium.en --llm-model meta-llama/Llama-3.2-3B \\
      --add_PETF_LLM lora --reduction_lora 64 --alpha 8
""",
    words="RELEASED FOLDER [flags]",
    schema=Schema(ConvertOptions, KINDS),
    leading=("release",),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.run.debug)
    parsed.log_notes()
    run(parsed.options, parsed.explicit)


def run(asked: ConvertOptions, explicit: frozenset[str]) -> None:
    """Write the checkpoint folder and say what it holds. Raises ValueError, naming flags, for what does
    not fit."""
    path, folder = asked.release.released, asked.release.folder
    if not path.is_file():
        raise ValueError(f"{path}: found no such file; expected a published .pth")
    from llama_avsr.checkpoints import released  # heavy

    # The data set plays no part in a conversion.
    implied = {"pretrained_model_path": path, "root_dir": folder}
    options = released.release_options(asked.updated(implied), (explicit & FIELDS.keys()) | implied.keys())
    imported = released.convert(path, folder, options)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): {imported}")
    print(f"{folder} ({size:.1f} MB) holds its own weights and those that differ from the pretrained ones")


if __name__ == "__main__":
    words = sys.argv[1:]
    # `python -m llama_avsr.released convert` was its name in version 0.1.
    cli.run(main, words[1:] if words[:1] == ["convert"] else words)
