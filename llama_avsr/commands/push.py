"""Upload a model to the Hugging Face hub, with a model card.

After that, `llama_avsr.load("user/model")` and `--pretrained-model-path user/model` use it.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class PushOptions:
    """Upload"""

    model: str | None = option(None, positional=True, required=True)
    """Folder of a run, whose average is uploaded, or a checkpoint folder."""
    name: str | None = option(None, positional=True, required=True)
    """Name on the hub, such as user/model."""
    private: bool = False
    """Make the repository private, if it is new."""
    branch: str | None = option(None, aliases=("revision",))
    """Branch to upload to; --revision means the same. Default: the main branch."""
    license: str = "other"
    """Licence of the trained weights, by the hub's names."""
    dry_run: Path | None = None
    """Write the files to this folder and upload nothing."""


@dataclass(frozen=True, kw_only=True)
class Options:
    push: PushOptions = field(default_factory=PushOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="push",
    title="Upload a model to the Hugging Face hub, with a model card.",
    examples="""\
  {program} runs/first user/model
  {program} runs/first user/model --dry-run card
""",
    words="MODEL NAME [flags]",
    note='Then llama_avsr.load("user/model") and --pretrained-model-path user/model use it.',
    schema=Schema(Options),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    push(parsed.options.push)


def push(asked: PushOptions) -> None:
    """Raises ValueError for what is no checkpoint, or no name of the hub's."""
    from llama_avsr.checkpoints import hub, publishing  # heavy: after the flags are known to be right
    from llama_avsr.checkpoints.source import Checkpoint, find_source

    if not hub.is_hub_name(asked.name) or "@" in asked.name:
        raise ValueError(f"{asked.name}: expected a name such as user/model")
    source = find_source(asked.model)
    if not isinstance(source, Checkpoint):
        raise ValueError(f"{asked.model}: a published file; convert it to a checkpoint folder first")
    hours = _train_hours(source)
    if asked.dry_run is not None:
        publishing.prepare(source, asked.name, asked.dry_run, asked.license, hours)
        print(f"{asked.dry_run}: what would be uploaded as {asked.name}")
        return
    with tempfile.TemporaryDirectory() as folder:
        publishing.prepare(source, asked.name, Path(folder), asked.license, hours)
        pushed = hub.push(Path(folder), asked.name, asked.branch, asked.private)
    print(f"{pushed.url}\nrevision {pushed.revision}")


def _train_hours(source: object) -> float | None:
    """Hours of speech in the training set, where it lies on this machine."""
    from datamodules.batch import VIDEO_FPS
    from llama_avsr.lightning.data import build_datamodule

    if source.trained.data.root_dir is None:
        return None
    try:
        datamodule = build_datamodule(source.trained)
        datamodule.setup("fit")
    except (ValueError, OSError):
        return None
    return sum(clip.num_frames for clip in datamodule.utterances["train"]) / VIDEO_FPS / 3600


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
