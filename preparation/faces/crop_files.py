"""What cropping a video leaves behind: clips, their sound, and a record by which a later run knows it.

DATASET/REL/NAME.mp4 .wav             the only clip of a video
DATASET/REL/NAME_00.mp4 .wav, ...     several
DATASET/.crop/REL/NAME.json           the record, written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from datamodules.files import write_whole
from datamodules.media.writing import padded_to_frames, write_video, write_waveform
from preparation.faces.contact_sheet import write_sheet
from preparation.faces.crop import CropResult, MouthTrack
from preparation.faces.sources import Source
from preparation.resuming import remove_parts, stamp

RECORD_FOLDER = ".crop"
RECORD_VERSION = 1


@dataclass(frozen=True)
class Clip:
    """One mouth clip that lies on the disk."""

    path: str
    """Below the data set's folder."""
    num_frames: int
    start_s: float
    """In the video it comes from."""
    end_s: float
    num_seen: int
    """Frames in which the face was found; in the others its place is interpolated."""
    has_sound: bool


@dataclass(frozen=True)
class Record:
    """What became of one video."""

    source: str
    stamp: list[int] | None
    """Size and time of change of the video, by which another one of its name is told apart."""
    settings: Mapping[str, Any]
    clips: list[Clip]
    rejected: list[str]
    """Why it, or parts of it, were left out."""
    num_frames: int
    num_faceless: int


class DataSet:
    """The folder `root_dir/name` that clips are written into."""

    def __init__(self, root_dir: Path, name: str) -> None:
        self.folder = root_dir / name
        self.name = name

    def record_path(self, source: Source) -> Path:
        return self.folder / RECORD_FOLDER / source.stem.with_name(source.stem.name + ".json")

    def record(self, source: Source) -> Record | None:
        """Of an earlier run, with whatever settings."""
        return read_record(self.record_path(source))

    def done(self, source: Source, settings: Mapping[str, Any]) -> Record | None:
        """The record of an earlier run with these settings, if all that it speaks of is there."""
        record = self.record(source)
        if record is None or record.settings != settings or record.stamp != stamp(source.path):
            return None
        return record if all((self.folder / clip.path).is_file() for clip in record.clips) else None

    def records(self) -> list[Record]:
        """Of all videos that were ever cropped into this folder, in order of their places."""
        paths = sorted((self.folder / RECORD_FOLDER).rglob("*.json"))
        return [record for path in paths if (record := read_record(path)) is not None]

    def clear(self, source: Source) -> None:
        """Remove what an earlier run made of this video, and what one that was killed left half-written."""
        path = self.record_path(source)
        record = read_record(path)
        for clip in record.clips if record else ():
            for suffix in (".mp4", ".wav", ".png"):
                (self.folder / clip.path).with_suffix(suffix).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        remove_parts(self.folder / source.stem)

    def write(
        self,
        source: Source,
        result: CropResult,
        sound: np.ndarray | None,
        settings: Mapping[str, Any],
        sheets: bool = False,
    ) -> Record:
        """Write the clips of a video, then its record. `sound` [N] covers the whole video."""
        names = clip_names(source.stem, len(result.tracks))
        clips = [
            self._write_clip(name, track, sound, sheets)
            for name, track in zip(names, result.tracks, strict=True)
        ]
        record = Record(
            source=str(source.path.absolute()),
            stamp=stamp(source.path),
            settings=settings,
            clips=clips,
            rejected=result.rejected,
            num_frames=result.num_frames,
            num_faceless=result.num_faceless,
        )
        self.write_record(source, record)
        return record

    def write_record(self, source: Source, record: Record) -> None:
        text = json.dumps({"version": RECORD_VERSION, **asdict(record)}, indent=1)
        write_whole(self.record_path(source), text + "\n")

    def _write_clip(self, name: Path, track: MouthTrack, sound: np.ndarray | None, sheets: bool) -> Clip:
        stem = self.folder / name
        num_frames = len(track.frames)
        if sound is not None:
            part = sound[track.first * SAMPLES_PER_VIDEO_FRAME :]
            write_waveform(stem.with_name(stem.name + ".wav"), padded_to_frames(part, num_frames))
        if sheets:
            write_sheet(stem.with_name(stem.name + ".png"), track)
        write_video(stem.with_name(stem.name + ".mp4"), track.frames)
        return Clip(
            path=name.with_name(name.name + ".mp4").as_posix(),
            num_frames=num_frames,
            start_s=round(track.start_s, 2),
            end_s=round(track.end_s, 2),
            num_seen=int(track.seen.sum()),
            has_sound=sound is not None,
        )


def clip_names(stem: Path, number: int) -> list[Path]:
    """Of the clips of one video, without suffix."""
    return [stem] if number == 1 else [stem.with_name(f"{stem.name}_{i:02d}") for i in range(number)]


def read_record(path: Path) -> Record | None:
    """None where there is none that this version understands."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("version") != RECORD_VERSION:
            return None
        return Record(**{**content, "clips": [Clip(**clip) for clip in content["clips"]]})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
