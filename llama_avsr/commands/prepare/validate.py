"""A prepared data set: what would training choke on?"""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_avsr.commands.prepare import _arguments

HELP = "check a prepared data set for what training would choke on"
DESCRIPTION = (
    "Check label files and the media they name: lines that cannot be read, missing or broken media, "
    "lengths that differ from the label, silent sound, empty texts, clips that are there twice or in two "
    "of the label files given (training and test). Prints statistics of lengths and texts. The exit status "
    "is 1 where there are problems, 0 where there are none."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "labels", nargs="+", type=Path, help="label files: paths, or names below --root-dir's labels/"
    )
    parser.add_argument("--root-dir", type=Path, required=True, help="root of the data set", metavar="DIR")
    _arguments.add_path_prefix(parser)
    _arguments.add_media(parser, "what the data set is to be used for (both)")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="decode every frame of video; without it only headers are read (sound is always decoded)",
    )
    parser.add_argument(
        "--silence-db",
        type=float,
        default=-60.0,
        help="sound below this level, in dB of full scale, counts as silent (%(default)s)",
        metavar="DB",
    )
    parser.add_argument(
        "--fix",
        type=Path,
        help="write the label file without the lines that have problems to OUT; of several label files, "
        "into the folder OUT, where a clip that several of them have stays in the last one",
        metavar="OUT",
    )
    parser.add_argument("--json", type=Path, help="write all that was found to this file", metavar="FILE")
    parser.add_argument(
        "--examples",
        type=int,
        default=5,
        help="lines shown of each kind of problem (%(default)s)",
        metavar="N",
    )
    _arguments.add_num_workers(parser)


def run(arguments: argparse.Namespace) -> int:
    import json

    from datamodules import formats
    from datamodules.files import write_whole
    from preparation.labels import validate_report
    from preparation.labels.validate import validate, write_clean
    from preparation.labels.validate_media import MediaChecks

    paths = [formats.find(path, arguments.root_dir) for path in arguments.labels]
    checks = MediaChecks(tuple(arguments.media), arguments.deep, arguments.silence_db)
    files = validate(
        paths, arguments.root_dir, checks, arguments.num_workers, _arguments.path_prefixes(arguments)
    )
    for line in validate_report.lines(files, arguments.examples):
        print(line)
    if arguments.json is not None:
        report = json.dumps(validate_report.as_json(files), indent=2, ensure_ascii=False)
        write_whole(arguments.json, report + "\n")
        print(f"all of it: {arguments.json}")
    if arguments.fix is not None:
        for path in write_clean(files, arguments.fix):
            print(f"without those lines: {path}")
    return 1 if any(file.broken_lines for file in files) else 0
