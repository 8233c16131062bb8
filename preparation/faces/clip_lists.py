"""What a data set of cropped clips holds: a list of all, and label lines of those whose words are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.files import write_whole
from preparation.datasets import text
from preparation.datasets.transcripts import TEXT_KEY, TranscriptError, read_text
from preparation.faces.crop_files import DataSet, Record
from preparation.labels.contents import csv_line

LIST_FILE = "clips.csv"
LIST_COLUMNS = ("path", "frames", "start_s", "end_s", "face_share", "sound", "video")


@dataclass(frozen=True)
class Lists:
    """What was written."""

    list_path: Path
    num_clips: int
    label_path: Path | None
    """None where no transcript was found."""
    num_labels: int
    num_uncut_texts: int
    """Transcripts of videos that became several clips: which words belong to which is not known."""


def write_lists(root_dir: Path, data_set: DataSet) -> Lists:
    """Write `DATASET/clips.csv` with all clips, and `labels/DATASET.csv` with those that have a transcript.

    A transcript is a .txt of the video's name, beside it: the text, or LRS2's and LRS3's `Text:` line.
    """
    records = data_set.records()
    rows, labels, num_uncut = [], [], 0
    for record in records:
        said = transcript(Path(record.source).with_suffix(".txt"))
        rows += [_row(record, index) for index in range(len(record.clips))]
        if said and len(record.clips) == 1:
            clip = record.clips[0]
            labels.append(csv_line(data_set.name, clip.path, clip.num_frames, said))
        num_uncut += bool(said and len(record.clips) > 1)
    list_path = data_set.folder / LIST_FILE
    write_whole(list_path, _as_csv([LIST_COLUMNS, *rows]))
    label_path = root_dir / "labels" / f"{data_set.name}.csv"
    if labels:
        write_whole(label_path, "".join(labels))
    return Lists(list_path, len(rows), label_path if labels else None, len(labels), num_uncut)


def transcript(path: Path) -> str | None:
    """The words in a .txt, in one line; None where there are none."""
    try:
        content = read_text(path)
    except TranscriptError:
        return None
    if content.startswith(TEXT_KEY):
        first, _, _ = content.removeprefix(TEXT_KEY).partition("\n")
        return text.lrs(first).lower() or None
    return text.verbatim(content) or None


def _row(record: Record, index: int) -> Sequence[object]:
    clip = record.clips[index]
    share = clip.num_seen / clip.num_frames
    return (
        clip.path,
        clip.num_frames,
        f"{clip.start_s:.2f}",
        f"{clip.end_s:.2f}",
        f"{share:.3f}",
        int(clip.has_sound),
        record.source,
    )


def _as_csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
