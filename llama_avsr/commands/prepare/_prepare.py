"""What the commands that prepare data sets share: flags, and the report at the end."""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_avsr.commands.prepare import _arguments
from llama_avsr.commands.prepare._arguments import positive_int

if TYPE_CHECKING:
    from preparation.datasets import Item
    from preparation.datasets.pipeline import Report
    from preparation.labels.lists import LabelSettings

FRAMES_PER_SECOND = 25
SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3600
LABEL_FORMATS = ("5-column", "4-column", "tsv")


def add_source(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--source-dir", type=Path, required=True, help=help_text, metavar="DIR")
    parser.add_argument(
        "--root-dir", type=Path, required=True, help="folder to write the prepared set into", metavar="DIR"
    )


def add_subset(parser: argparse.ArgumentParser, subsets: Sequence[str]) -> None:
    parser.add_argument(
        "--subset", nargs="+", choices=subsets, help="what to prepare (default: all that is there)"
    )


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Flags of clips, label files and processes."""
    clips = parser.add_argument_group("clips")
    clips.add_argument(
        "--seg-seconds",
        type=positive_int,
        default=16,
        help="longest clip, in seconds; longer videos are cut, and folders and label files are named "
        "after it: 16 for training, 24 for tests (%(default)s)",
        metavar="N",
    )
    clips.add_argument(
        "--already-cropped",
        action="store_true",
        help="the videos show mouths alone (88 to 256 pixels a side): look for no face, cut in time only",
    )
    clips.add_argument("--no-sound", action="store_true", help="read and write no sound: for lips alone")
    _arguments.add_faces(parser)
    _add_labels(parser.add_argument_group("label files"))
    _add_running(parser.add_argument_group("running"))


def _add_labels(labels: Any) -> None:
    labels.add_argument(
        "--label-format",
        nargs="+",
        choices=LABEL_FORMATS,
        default=["5-column"],
        help="5-column CSV has the text, 4-column CSV token ids (of --spm; left empty without it), tsv is "
        "a manifest with a .wrd beside it (5-column)",
    )
    labels.add_argument(
        "--lowercase",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="lower-case text in 5-column files and manifests; text files are upper-case (yes)",
    )
    labels.add_argument(
        "--spm", type=Path, help="sentencepiece model for the ids of 4-column files", metavar="MODEL"
    )
    labels.add_argument(
        "--languages", default="en-en", help="spoken-written, in the ids of manifests (%(default)s)"
    )
    labels.add_argument(
        "--min-frames",
        type=positive_int,
        help="list only clips of so many frames (25 a second) and more; 26 makes ..._greater25",
        metavar="N",
    )
    labels.add_argument(
        "--max-frames", type=positive_int, help="list only clips of at most so many frames", metavar="N"
    )
    labels.add_argument("--max-seconds", type=float, help="the same in seconds", metavar="S")


def _add_running(running: Any) -> None:
    _arguments.add_num_workers(running)
    running.add_argument(
        "--groups",
        type=positive_int,
        default=1,
        help="divide the videos into so many shares, to prepare each in a job of its own; once all are "
        "done, the same command without --groups writes the label files of the whole (%(default)s)",
        metavar="N",
    )
    running.add_argument(
        "--job-index", type=int, default=0, help="which share, from 0 (%(default)s)", metavar="N"
    )
    running.add_argument("--limit", type=positive_int, help="only the first so many videos", metavar="N")
    running.add_argument(
        "--retry", action="store_true", help="try again what could not be used in an earlier run"
    )


def run(
    arguments: argparse.Namespace,
    dataset: str,
    items: Sequence[Item],
    **more: Any,
) -> None:
    """Prepare `items` as the shared flags say, and print what came of it. `more` goes to "
    "`pipeline.prepare`."""
    from preparation.datasets.clips import ClipSettings
    from preparation.datasets.mouths import MouthSettings
    from preparation.datasets.pipeline import Share, prepare

    labels = _label_settings(arguments)
    settings = ClipSettings(
        dataset=dataset,
        root_dir=arguments.root_dir,
        seg_seconds=arguments.seg_seconds,
        mouths=MouthSettings(
            arguments.already_cropped,
            _arguments.detector_options(arguments),
            _arguments.crop_options(arguments),
        ),
        with_sound=not arguments.no_sound,
    )
    share = Share(arguments.groups, arguments.job_index)
    report = prepare(
        items[: arguments.limit],
        settings,
        labels,
        share=share,
        num_workers=arguments.num_workers,
        retry=arguments.retry,
        **more,
    )
    for line in report_lines(dataset, arguments.root_dir, report):
        print(line)
    if "4-column" in arguments.label_format and arguments.spm is None:
        print("The 4-column files have no token ids: they need a sentencepiece model, --spm.")
    if share.groups > 1:
        print(
            f"This is share {share.index} of {share.groups} (0 to {share.groups - 1}); when all are done, "
            "the same command without --groups and --job-index writes the label files of the whole."
        )


def _label_settings(arguments: argparse.Namespace) -> LabelSettings:
    from preparation.labels.lists import LabelSettings, LengthFilter, load_encoder

    longest = [arguments.max_frames] if arguments.max_frames else []
    if arguments.max_seconds is not None:
        longest.append(max(1, math.floor(arguments.max_seconds * FRAMES_PER_SECOND)))
    if not re.fullmatch("[a-z]{2,3}-[a-z]{2,3}", arguments.languages):
        raise ValueError(f"--languages: expected two languages such as en-es, found {arguments.languages!r}")
    return LabelSettings(
        formats=tuple(dict.fromkeys(arguments.label_format)),
        lowercase=arguments.lowercase,
        length=LengthFilter(min_frames=arguments.min_frames, max_frames=min(longest, default=None)),
        encode=load_encoder(arguments.spm) if arguments.spm else None,
        languages=arguments.languages,
    )


def report_lines(dataset: str, root_dir: Path, report: Report) -> list[str]:
    """What a person wants to know at the end."""
    new = report.num_videos - report.num_done_before
    before = f", {report.num_done_before} of them in an earlier run" if report.num_done_before else ""
    lines = [f"{dataset}: went through {report.num_videos} videos{before}; it lies in {root_dir}"]
    if not new:
        lines = [f"{dataset}: all {report.num_videos} videos had been gone through; it lies in {root_dir}"]
    for subset, found in report.subsets.items():
        length = duration(found.num_frames / FRAMES_PER_SECOND)
        lines.append(f"  {subset:5s} {found.num_clips:7d} clips {length:>9s}")
        if found.num_other_lengths:
            lines.append(f"        {found.num_other_lengths:7d} clips shorter or longer than asked for")
        if found.num_without_text:
            lines.append(f"        {found.num_without_text:7d} clips without text: see --transcripts")
        lines += [f"        {path}" for path in found.files]
    if report.left_out:
        lines.append(f"  left out, see {report.left_out_path}:")
        lines += _reasons(report)
    return lines


def _reasons(report: Report) -> list[str]:
    counts = Counter(why.reason for _, why in report.left_out)
    lines = []
    for reason, count in counts.most_common():
        name, why = next(entry for entry in report.left_out if entry[1].reason == reason)
        lines.append(f"  {count:13d} {reason}; {'such as ' if count > 1 else ''}{name}: {why.detail}")
    return lines


def duration(seconds: float) -> str:
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    if seconds < SECONDS_PER_HOUR:
        return f"{seconds / SECONDS_PER_MINUTE:.1f} min"
    return f"{seconds / SECONDS_PER_HOUR:.1f} h"
