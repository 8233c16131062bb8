"""A folder of videos with their texts beside them."""

from __future__ import annotations

import argparse
import re

from llama_avsr.commands.prepare import _arguments, _prepare

HELP = "your own videos: clip.mp4 with clip.txt, or clip.srt, or clip.vtt beside it"
DESCRIPTION = (
    "Make a data set of a folder of videos (subfolders too). Beside each lies its text: an .srt or .vtt, "
    "cut at its cues, or a .txt with what is said in the whole clip, which then must not be longer than "
    "--seg-seconds. Videos in subfolders train/, val/ and test/ go into label files of these names, all "
    "others into train; or --val-share and --test-share hold some out. A run that was stopped goes on "
    "where it was; a second run does nothing twice."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _prepare.add_source(parser, "folder with your videos and their texts")
    parser.add_argument(
        "--dataset",
        help="name of the data set: letters, digits, _ . - (that of --source-dir)",
        metavar="NAME",
    )
    parser.add_argument(
        "--val-share", type=_share, default=0.0, help="share of the videos for validation (0)", metavar="P"
    )
    parser.add_argument(
        "--test-share", type=_share, default=0.0, help="share of the videos for tests (0)", metavar="P"
    )
    parser.add_argument(
        "--verbatim",
        action="store_true",
        help="keep texts as they are written; without it punctuation and [annotations] go, and what is left "
        "is words in upper case (text files) or lower case (label files)",
    )
    _arguments.add_max_gap(
        parser, "where there are subtitles, a face lost for longer begins a new stretch of video"
    )
    _prepare.add_shared(parser)
    parser.set_defaults(lowercase=None)


def run(arguments: argparse.Namespace) -> None:
    from preparation.datasets import folder

    dataset = arguments.dataset or re.sub(r"[^\w.-]+", "_", arguments.source_dir.resolve().name)
    if not re.fullmatch(r"\w[\w.-]*", dataset):
        raise ValueError(f"--dataset: expected letters, digits, _ . -, found {dataset!r}")
    if arguments.val_share + arguments.test_share > 1:
        raise ValueError("--val-share and --test-share: expected at most 1 together")
    if arguments.lowercase is None:
        arguments.lowercase = not arguments.verbatim
    items, without = folder.items(
        arguments.source_dir,
        verbatim=arguments.verbatim,
        val_share=arguments.val_share,
        test_share=arguments.test_share,
        leave_out=arguments.root_dir / dataset,
    )
    _prepare.run(arguments, dataset, items, without=without)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, found {text!r}")
    return value
