"""Mouth clips from videos of people who speak."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llama_avsr.commands.prepare import _arguments

if TYPE_CHECKING:
    from preparation.faces.batch import Outcome
    from preparation.faces.clip_lists import Lists

HELP = "mouth clips from videos of people who speak"
DESCRIPTION = (
    "Find the speaker's face in every video, follow it, and write the mouth as a clip of 96x96 pixels at 25 "
    "frames per second, its sound as a 16 kHz wav, and lists of them. Videos may have any container, size "
    "and frame rate. A scene cut, or a face that is lost for long, begins another clip (NAME_00.mp4, "
    "NAME_01.mp4, ...). A .txt beside a video is its transcript and makes a label line. What is done already "
    "is not done again; see docs/own_videos.md."
)
MAX_REPORTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        type=Path,
        nargs="+",
        help="video, folder of videos (searched to the bottom), or list of them (.txt, a path a line)",
        metavar="VIDEO",
    )
    parser.add_argument(
        "--root-dir", type=Path, required=True, help="data set's root, as for train_LLM.py", metavar="DIR"
    )
    parser.add_argument(
        "--dataset",
        default="own",
        help="folder below the root that clips go to (%(default)s)",
        metavar="NAME",
    )
    _arguments.add_max_gap(parser, "a face lost for longer ends a clip, shorter gaps are interpolated")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="one clip a video, whatever happens in it: no scene cuts, all gaps interpolated (for data sets "
        "of clips that are cut already)",
    )
    _arguments.add_num_workers(parser)
    parser.add_argument(
        "--contact-sheets", action="store_true", help="also write a picture of each clip's frames (.png)"
    )
    parser.add_argument("--redo", action="store_true", help="crop again what is done already")
    _arguments.add_faces(parser)


def run(arguments: argparse.Namespace) -> int:
    from preparation.faces.batch import BatchOptions, crop_all
    from preparation.faces.clip_lists import write_lists
    from preparation.faces.sources import find_sources
    from preparation.pool import processes

    options = BatchOptions(
        root_dir=arguments.root_dir,
        dataset=arguments.dataset,
        crop=_arguments.crop_options(arguments),
        detector=_arguments.detector_options(arguments),
        num_workers=processes(arguments.num_workers),
        sheets=arguments.contact_sheets,
        redo=arguments.redo,
    )
    outcome = crop_all(find_sources(arguments.videos), options)
    lists = write_lists(arguments.root_dir, options.data_set)
    _report(outcome, lists, options.num_workers)
    return 0 if any(record.clips for _, record in outcome.done + outcome.kept) else 1


def _report(outcome: Outcome, lists: Lists, num_workers: int) -> None:
    cropped = [(source, record) for source, record in outcome.done + outcome.kept if record.clips]
    skipped = [(source, record) for source, record in outcome.done + outcome.kept if not record.clips]
    clips = [clip for _, record in cropped for clip in record.clips]
    seconds = sum(clip.num_frames for clip in clips) / 25
    kept = f", {len(outcome.kept)} of them done before" if outcome.kept else ""
    total = len(cropped) + len(skipped) + len(outcome.failed)
    print(
        f"{_count(total, 'video')}{kept}: {len(cropped)} became {_count(len(clips), 'clip')}, {seconds:.1f} s"
    )
    if clips:
        frames, seen = sum(clip.num_frames for clip in clips), sum(clip.num_seen for clip in clips)
        print(f"  face lost and interpolated in {frames - seen} of {frames} frames ({1 - seen / frames:.1%})")
        silent = sum(not clip.has_sound for clip in clips)
        if silent:
            print(f"  without sound: {_count(silent, 'clip')}")
    if outcome.done:
        speed = outcome.video_seconds / max(outcome.wall_seconds, 1e-9)
        print(
            f"  {outcome.video_seconds:.1f} s of video in {outcome.wall_seconds:.1f} s: {speed:.1f} s per "
            f"second with {_count(min(num_workers, len(outcome.done)), 'process')}"
        )
    _list("skipped", [(source, reason) for source, record in skipped for reason in record.rejected])
    _list("left out", [(source, reason) for source, record in cropped for reason in record.rejected])
    _list("failed, to be tried again", outcome.failed)
    print(f"  {lists.num_clips:5d} clips listed in {lists.list_path}")
    if lists.label_path is not None:
        print(f"  {lists.num_labels:5d} with a transcript in {lists.label_path}")
    if lists.num_uncut_texts:
        print(
            f"  {lists.num_uncut_texts} transcripts not used: their videos became several clips (see --whole)"
        )


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def _list(what: str, reasons: list) -> None:
    if not reasons:
        return
    print(f"  {what}:")
    for source, reason in reasons[:MAX_REPORTED]:
        print(f"    {source.path}: {reason}")
    if len(reasons) > MAX_REPORTED:
        print(f"    and {len(reasons) - MAX_REPORTED} more")
