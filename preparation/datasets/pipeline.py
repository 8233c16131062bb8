"""From the videos of a data set to clips and label files.

    root/DATASET/DATASET_video_segNs/...mp4 .wav      clips, and DATASET_text_segNs/...txt
    root/DATASET/.prepared/segNs.G.J.jsonl            what was made of each video
    root/DATASET/left_out_segNs[.G.J].csv             name,reason,detail of what became no clip
    root/labels/DATASET_SUBSET_transcript_lengths_segNs*[.G.J].{csv,tsv,wrd}

G shares (`groups`) may be prepared by as many processes or machines at a time; the same run without shares
then only writes the label files of the whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datamodules.files import write_whole
from preparation.datasets import Item
from preparation.datasets.asr_transcripts import AsrTranscripts
from preparation.datasets.clip_files import write_text
from preparation.datasets.clips import ClipSettings, ItemRecord, item_key, make_clips, mouth_reader
from preparation.datasets.journal import FOLDER as JOURNAL_FOLDER
from preparation.datasets.journal import Journal
from preparation.datasets.segments import LeftOut
from preparation.datasets.text import spoken
from preparation.labels import lists
from preparation.labels.lists import LabelSettings, Row
from preparation.pool import unordered_map


@dataclass(frozen=True)
class Share:
    """One of `groups` shares of the videos, counted from 0."""

    groups: int = 1
    index: int = 0

    def __post_init__(self) -> None:
        if self.groups < 1 or not 0 <= self.index < self.groups:
            raise ValueError(
                f"--job-index counts from 0 up to --groups, not included: found {self.index} of {self.groups}"
            )

    @property
    def suffix(self) -> str:
        return f".{self.groups}.{self.index}" if self.groups > 1 else ""


@dataclass
class SubsetReport:
    """What a subset came to."""

    num_clips: int = 0
    num_frames: int = 0
    num_without_text: int = 0
    num_other_lengths: int = 0
    """Clips that the filter of lengths left out of the label file."""
    files: list[Path] = field(default_factory=list)


@dataclass
class Report:
    """What a run came to."""

    num_videos: int
    num_done_before: int
    subsets: dict[str, SubsetReport]
    left_out: list[tuple[str, LeftOut]]
    left_out_path: Path


def prepare(
    items: Sequence[Item],
    settings: ClipSettings,
    labels: LabelSettings,
    *,
    share: Share | None = None,
    num_workers: int | None = None,
    without: Sequence[tuple[str, LeftOut]] = (),
    transcripts: AsrTranscripts | None = None,
    retry: bool = False,
    show_progress: bool = True,
) -> Report:
    """Make the clips of `items` that are not there yet, and the label files of all of them.

    without: what was left out before (name, why), for the report.
    transcripts: texts of clips whose items have none.
    retry: take up again what could not be used in an earlier run.

    Raises:
        ValueError: nothing could be prepared (it says why), or a worker died.
        OSError: a file cannot be written.
    """
    share = share or Share()
    mine = items[share.index :: share.groups]
    without = list(without[share.index :: share.groups])
    num_done_before, records = _make_missing(mine, settings, share, num_workers, retry, show_progress)
    left_out = [(record.name, why) for record in records for why in record.left_out]
    report = Report(
        num_videos=len(mine) + len(without),
        num_done_before=num_done_before,
        subsets={},
        left_out=[*without, *left_out],
        left_out_path=settings.root_dir
        / settings.dataset
        / f"left_out_seg{settings.seg_seconds}s{share.suffix}.csv",
    )
    _write_left_out(report)
    if report.num_videos and not any(record.clips for record in records):
        raise ValueError(_nothing(report))
    for subset in dict.fromkeys(item.subset for item in items):
        of_subset = [record for item, record in zip(mine, records, strict=True) if item.subset == subset]
        rows = _rows(of_subset, settings, transcripts)
        report.subsets[subset] = _write_labels(subset, rows, settings, labels, share)
    return report


def _make_missing(
    items: Sequence[Item],
    settings: ClipSettings,
    share: Share,
    num_workers: int | None,
    retry: bool,
    show_progress: bool,
) -> tuple[int, list[ItemRecord]]:
    """How many were there before, and the records of all items in their order."""
    keys = {item.name: item_key(item, settings) for item in items}
    shard = f"{share.groups}.{share.index}"
    journal = Journal(
        settings.root_dir / settings.dataset / JOURNAL_FOLDER, f"seg{settings.seg_seconds}s", shard
    )
    records = journal.read(keys)
    done = {
        name
        for name, record in records.items()
        if record.key == keys[name] and _is_whole(record, settings) and not (retry and not record.clips)
    }
    tasks = [(item, records.get(item.name)) for item in items if item.name not in done]
    if tasks:
        mouth_reader(settings.mouths)  # what it lacks is said before any process is started
        with journal:
            make = partial(make_clips, settings=settings)
            description = f"{settings.dataset}: making clips"
            made = unordered_map(
                make, tasks, num_workers, show_progress=show_progress, description=description
            )
            for record in made:
                journal.add(record)
                records[record.name] = record
    return len(done), [records[item.name] for item in items]


def _is_whole(record: ItemRecord, settings: ClipSettings) -> bool:
    return all(settings.video_path(clip.name).is_file() for clip in record.clips)


def _rows(
    records: Sequence[ItemRecord], settings: ClipSettings, transcripts: AsrTranscripts | None
) -> list[Row]:
    """A row for each clip; its text is empty where nobody knows what is said."""
    rows = []
    for record in records:
        for clip in record.clips:
            text = clip.text
            if text is None:
                text = _heard(clip.name, record, transcripts)
                if text:
                    write_text(settings.text_path(clip.name), text)
            rows.append(Row(settings.dataset, settings.rel_path(clip.name), clip.num_frames, text))
    return rows


def _heard(name: str, record: ItemRecord, transcripts: AsrTranscripts | None) -> str:
    """What a model heard in a clip, or in the video that it is the whole of."""
    if transcripts is None:
        return ""
    heard = transcripts.get(name)
    if heard is None and len(record.clips) == 1:
        heard = transcripts.get(record.name)
    return spoken(heard.text) if heard is not None else ""


def _write_labels(
    subset: str, rows: Sequence[Row], settings: ClipSettings, labels: LabelSettings, share: Share
) -> SubsetReport:
    folder = settings.root_dir / "labels"
    prefix, seg = f"{settings.dataset}_{subset}", f"seg{settings.seg_seconds}s"
    num_all = len(rows)
    rows = [row for row in rows if labels.length.keeps(row.num_frames)]
    known = [row for row in rows if row.text]
    unknown = [row for row in rows if not row.text]
    report = SubsetReport(
        num_clips=len(known),
        num_frames=sum(row.num_frames for row in known),
        num_without_text=len(unknown),
        num_other_lengths=num_all - len(rows),
    )
    if known:
        name = f"{prefix}_transcript_lengths_{seg}"
        report.files += lists.write(folder, name, share.suffix, known, labels)
    to_transcribe = folder / f"{prefix}_to_transcribe_{seg}{share.suffix}.csv"
    if unknown:
        report.files.append(lists.write_5_columns(to_transcribe, unknown))
    else:
        to_transcribe.unlink(missing_ok=True)
    return report


def _write_left_out(report: Report) -> None:
    if not report.left_out:
        report.left_out_path.unlink(missing_ok=True)
        return
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("name", "reason", "detail"))
    writer.writerows((name, why.reason, why.detail) for name, why in report.left_out)
    write_whole(report.left_out_path, buffer.getvalue())


def _nothing(report: Report) -> str:
    examples = "".join(f"\n  {name}: {why.reason}: {why.detail}" for name, why in report.left_out[:3])
    return (
        f"none of {report.num_videos} videos could be used; "
        f"all reasons are in {report.left_out_path}{examples}"
    )
