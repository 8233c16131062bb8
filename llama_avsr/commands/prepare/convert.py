"""Label files of one format made into the other."""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_avsr.commands.prepare import _arguments

HELP = "label files from .csv to .tsv (manifests of AV-HuBERT and VSP-LLM), or back"
DESCRIPTION = (
    "Convert a label file between the .csv of auto-avsr and Llama-AVSR (5 columns; those of 4 are read too) "
    "and the .tsv with .wrd and .cluster_counts of AV-HuBERT and VSP-LLM. The suffixes say which is which. "
    "Every line is checked before anything is written: texts, files, counts of units. What the new format "
    "cannot hold is said. See labels/README.md."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="label file, or its name below DIR/labels")
    parser.add_argument(
        "target", type=Path, metavar="OUT", help="file to write: .csv, or .tsv and others beside"
    )
    parser.add_argument(
        "--root-dir", type=Path, required=True, metavar="DIR", help="root of the data set: paths lie below it"
    )
    parser.add_argument(
        "--lang",
        nargs="+",
        action="extend",
        default=[],
        metavar="SRC-TGT",
        help="languages spoken and written, such as en-es: of a .tsv keep these clips alone; of a .csv all "
        "clips have them (en-en)",
    )
    _arguments.add_path_prefix(parser)
    parser.add_argument(
        "--cluster-counts",
        type=Path,
        metavar="FILE",
        help="runs of visual units to write beside the .tsv: a line for each clip of IN",
    )
    parser.add_argument(
        "--min-frames", type=int, metavar="N", help="leave out clips of fewer 25 Hz frames than N"
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="leave out clips of more frames than N")
    checks = parser.add_argument_group("checks")
    _arguments.add_media(checks, "what must exist of every clip (both); sound may be the video's own track")
    checks.add_argument(
        "--no-media-check",
        action="store_true",
        help="look at no media file: for converting where the data are not",
    )
    checks.add_argument(
        "--check-frames", action="store_true", help="compare lengths with the headers of the media"
    )
    checks.add_argument("--allow-empty", action="store_true", help="keep clips without text, as in test sets")
    checks.add_argument("--overwrite", action="store_true", help="replace OUT where it is there")


def run(arguments: argparse.Namespace) -> None:
    from datamodules.languages import parse_direction
    from preparation.labels.convert import Choices, convert

    choices = Choices(
        languages=tuple(parse_direction(text) for text in arguments.lang),
        path_prefix=_arguments.path_prefixes(arguments),
        cluster_counts=arguments.cluster_counts,
        media=() if arguments.no_media_check else tuple(arguments.media),
        check_frames=arguments.check_frames,
        allow_empty=arguments.allow_empty,
        min_frames=arguments.min_frames,
        max_frames=arguments.max_frames,
        overwrite=arguments.overwrite,
    )
    done = convert(arguments.source, arguments.target, arguments.root_dir, choices)
    print(f"Converted {done.num_clips} clips of {arguments.source} to")
    for path in done.files:
        print(f"  {path}")
    for title, lines in (
        ("Left out:", done.left_out),
        (f"Not in {arguments.target}, as a {arguments.target.suffix} cannot hold it:", done.losses),
        ("Note:", done.notes),
    ):
        if lines:
            print(title)
        for line in lines:
            print(f"  {line}")
