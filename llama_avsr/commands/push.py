"""Upload a model to the Hugging Face hub, with a model card.

    llama-avsr push RUN user/model              the average of a run, or a checkpoint folder
    llama-avsr push RUN user/model --dry-run DIR    write what would be uploaded, without network

After that, `llama_avsr.load("user/model")` and `--pretrained-model-path user/model` use it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from llama_avsr import cli


def main(argv: list[str]) -> None:
    arguments = _parser().parse_args(argv)
    cli.setup_logging()
    from llama_avsr.checkpoints import hub, publishing  # heavy: after the flags are known to be right
    from llama_avsr.checkpoints.source import Checkpoint, find_source

    if not hub.is_hub_name(arguments.name) or "@" in arguments.name:
        raise ValueError(f"{arguments.name}: expected a name such as user/model")
    source = find_source(arguments.model)
    if not isinstance(source, Checkpoint):
        raise ValueError(f"{arguments.model}: a published file; convert it to a checkpoint folder first")
    hours = _train_hours(source)
    if arguments.dry_run is not None:
        publishing.prepare(source, arguments.name, arguments.dry_run, arguments.license, hours)
        print(f"{arguments.dry_run}: what would be uploaded as {arguments.name}")
        return
    with tempfile.TemporaryDirectory() as folder:
        publishing.prepare(source, arguments.name, Path(folder), arguments.license, hours)
        pushed = hub.push(Path(folder), arguments.name, arguments.branch, arguments.private)
    print(f"{pushed.url}\nrevision {pushed.revision}")


def _parser() -> argparse.ArgumentParser:
    summary, _, usage = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        prog="llama-avsr push",
        description=summary,
        epilog=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="RUN", help="folder of a run, or a checkpoint folder")
    parser.add_argument("name", metavar="user/model", help="name on the hub")
    parser.add_argument("--private", action="store_true", help="make the repository private, if it is new")
    parser.add_argument(
        "--branch", "--revision", metavar="NAME", help="branch to upload to. Default: the main branch"
    )
    parser.add_argument(
        "--license",
        default="other",
        help="licence of the trained weights, by the hub's names. Default: %(default)s",
    )
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="write the files to DIR, upload nothing")
    return parser


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
