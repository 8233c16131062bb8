"""Mouth clips from videos of people who speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llama_avsr.commands.prepare import _faces
from llama_avsr.commands.prepare._shared import WorkerOptions
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeFloat

if TYPE_CHECKING:
    from preparation.faces.batch import Outcome
    from preparation.faces.clip_lists import Lists

MAX_REPORTED = 20


@group()
class ClipOptions:
    """Clips"""

    videos: tuple[Path, ...] = option((), positional=True, required=True)
    """Videos, folders of videos (searched recursively), or lists of them (.txt, one path per line)."""
    root_dir: Path | None = option(None, required=True)
    """Root of the data set, as for train_LLM.py."""
    dataset: str = "own"
    """Folder below the root to write the clips to."""
    max_gap: NonNegativeFloat = _faces.MAX_GAP_SECONDS
    """Seconds. A face that is lost for longer ends a clip; shorter gaps are interpolated."""
    whole: bool = False
    """Make one clip of each video, whatever happens in it: no scene cuts, all gaps interpolated. For
    data sets whose clips are cut already."""
    contact_sheets: bool = False
    """Also write a picture of each clip's frames (.png)."""
    redo: bool = False
    """Crop again what has been cropped already."""


@dataclass(frozen=True, kw_only=True)
class Options(_faces.FaceCommandOptions):
    clips: ClipOptions = field(default_factory=ClipOptions)
    running: WorkerOptions = field(default_factory=WorkerOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare crop",
    title=(
        "Find the speaker's face in every video, track it, and write the mouth as a clip of 96x96 pixels "
        "at 25 frames per second, its sound as a 16 kHz wav, and lists of both. Videos may have any "
        "container, size and frame rate. A scene cut, or a face that is lost for long, begins another "
        "clip (NAME_00.mp4, NAME_01.mp4, ...). A .txt beside a video is its transcript and becomes a "
        "label line. Clips that exist are not made again; see docs/own_videos.md."
    ),
    words="VIDEOS ... [flags]",
    schema=Schema(Options, _faces.DETECTORS),
    leading=("clips",),
)


def run(options: Options) -> int:
    from preparation.faces.batch import BatchOptions, crop_all
    from preparation.faces.clip_lists import write_lists
    from preparation.faces.sources import find_sources
    from preparation.pool import processes

    clips = options.clips
    batch = BatchOptions(
        root_dir=clips.root_dir,
        dataset=clips.dataset,
        crop=_faces.crop_options(options, clips.max_gap, clips.whole),
        detector=_faces.detector_options(options),
        num_workers=processes(options.running.num_workers),
        sheets=clips.contact_sheets,
        redo=clips.redo,
    )
    outcome = crop_all(find_sources(clips.videos), batch)
    lists = write_lists(clips.root_dir, batch.data_set)
    _report(outcome, lists, batch.num_workers)
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
