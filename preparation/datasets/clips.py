"""One video of a data set becomes clips: mouth, sound, text. Runs in the worker processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from datamodules.batch import VIDEO_FPS
from datamodules.media import load_audio
from datamodules.media.headers import num_video_frames
from preparation.datasets import Item
from preparation.datasets.clip_files import remove_clips, sound_of, write_clip
from preparation.datasets.mouths import MouthSettings, Source
from preparation.datasets.segments import LeftOut, Segment, Span, Stretch, outside
from preparation.datasets.transcripts import TranscriptError
from preparation.faces.options import NoMouthError
from preparation.faces.readers import Track
from preparation.resuming import remove_parts


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What clips depend on, besides the item they are made of."""

    dataset: str
    root_dir: Path
    seg_seconds: int
    mouths: MouthSettings
    with_sound: bool = True

    @property
    def max_frames(self) -> int:
        return self.seg_seconds * VIDEO_FPS

    @property
    def video_folder(self) -> str:
        """Below `root_dir/dataset`."""
        return f"{self.dataset}_video_seg{self.seg_seconds}s"

    def rel_path(self, clip_name: str) -> str:
        """As label files have it."""
        return f"{self.video_folder}/{clip_name}.mp4"

    def video_path(self, clip_name: str) -> Path:
        return self.root_dir / self.dataset / self.rel_path(clip_name)

    def text_path(self, clip_name: str) -> Path:
        return (
            self.root_dir / self.dataset / f"{self.dataset}_text_seg{self.seg_seconds}s" / f"{clip_name}.txt"
        )


@dataclass(frozen=True)
class ClipRecord:
    """A clip that lies on the disk. start_frame: in the video it was cut of; text: None while unknown."""

    name: str
    num_frames: int
    start_frame: int
    text: str | None


@dataclass(frozen=True)
class ItemRecord:
    """What became of an item; `key` is that of `item_key` at the time."""

    name: str
    key: str
    clips: tuple[ClipRecord, ...] = ()
    left_out: tuple[LeftOut, ...] = field(default=())

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> ItemRecord:
        """Raises ValueError, KeyError or TypeError where it is no such record."""
        value = json.loads(line)
        return cls(
            name=value["name"],
            key=value["key"],
            clips=tuple(ClipRecord(**clip) for clip in value["clips"]),
            left_out=tuple(LeftOut(**left_out) for left_out in value["left_out"]),
        )


def item_key(item: Item, settings: ClipSettings) -> str:
    """Changes when the item's files do, or the settings that its clips depend on."""
    state = [item.state(), settings.seg_seconds, settings.with_sound, settings.mouths.key()]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def make_clips(task: tuple[Item, ItemRecord | None], settings: ClipSettings) -> ItemRecord:
    """Write the clips of an item; `task` is the item and what an earlier run made of it, which is removed.

    A video that cannot be used is no error here: the record says why. OSError, such as of a full disk, is.
    """
    reader = mouth_reader(settings.mouths)
    item, earlier = task
    key = item_key(item, settings)
    for path in (settings.video_path(item.name), settings.text_path(item.name)):
        remove_parts(path.with_suffix(""))
    try:
        clips, left_out = _make(item, settings, reader, () if earlier is None else earlier.clips)
    except ValueError as error:
        # What an earlier run made of it, perhaps with better settings, stays.
        clips = () if earlier is None else earlier.clips
        return ItemRecord(item.name, key, clips, (_as_left_out(error, item),))
    return ItemRecord(item.name, key, tuple(clips), tuple(left_out))


@lru_cache(maxsize=1)
def mouth_reader(settings: MouthSettings) -> Source:
    """Made once in each process: a face detector takes long to load."""
    return Source(settings)


def _make(
    item: Item, settings: ClipSettings, reader: Source, earlier: Sequence[ClipRecord]
) -> tuple[list[ClipRecord], list[LeftOut]]:
    """`earlier` clips are removed as soon as it is known that there will be new ones, or rightly none."""
    transcript = item.load_transcript()
    # Sound first: where there is none, nobody need look for faces.
    waveform = _sound(item, reader) if settings.with_sound else None
    tracks = reader.tracks(item.video, item.place, item.one_mouth)
    spans = [_span(track) for track in tracks]
    total_frames = max(spans[-1].end, num_video_frames(item.video))
    loudness = _loudness(waveform, total_frames)
    pieces: list[tuple[Segment, np.ndarray]] = []
    left_out: list[LeftOut] = []
    for track, span in zip(tracks, spans, strict=True):
        cut = transcript.cut(Stretch(span, total_frames, settings.max_frames, loudness))
        pieces += [
            (s, track.frames[s.span.start - span.start : s.span.end - span.start]) for s in cut.segments
        ]
        left_out += cut.left_out
    if missed := outside(transcript.timed, spans):
        detail = f"{item.video}: {missed} of {len(transcript.timed)}"
        left_out.append(LeftOut("words or subtitles while no mouth is seen", detail))
    names = [clip.name for clip in earlier]
    remove_clips(map(settings.video_path, names), map(settings.text_path, names))
    clips = []
    for index, (segment, frames) in enumerate(pieces):
        name = f"{item.name}_{index:02d}" if transcript.numbered else item.name
        _write(settings, name, segment, frames, waveform)
        clips.append(ClipRecord(name, segment.span.num_frames, segment.span.start, segment.text))
    return clips, list(dict.fromkeys(left_out))


def _sound(item: Item, reader: Source) -> np.ndarray:
    return reader.sound(item.video) if item.sound is None else load_audio(item.sound).numpy()


def _span(track: Track) -> Span:
    return Span(track.first, track.first + len(track.frames))


def _write(
    settings: ClipSettings, name: str, segment: Segment, frames: np.ndarray, waveform: np.ndarray | None
) -> None:
    span = segment.span
    sound = None if waveform is None else sound_of(waveform, span.start, span.end)
    write_clip(settings.video_path(name), settings.text_path(name), frames, sound, segment.text)


def _loudness(waveform: np.ndarray | None, num_frames: int) -> np.ndarray | None:
    if waveform is None:
        return None
    return (sound_of(waveform, 0, num_frames).reshape(num_frames, -1) ** 2).mean(axis=1)


def _as_left_out(error: Exception, item: Item) -> LeftOut:
    """Under which heading an error is counted; its own text has the particulars."""
    if not item.video.exists():
        return LeftOut("the video is missing", str(item.video))
    if isinstance(item.transcript, Path) and not item.transcript.exists():
        return LeftOut("no text beside it", str(item.transcript))
    if isinstance(error, TranscriptError):
        return LeftOut("unreadable text", str(error))
    if isinstance(error, NoMouthError):
        return LeftOut("no mouth found", str(error))
    return LeftOut("unreadable video or sound", str(error))
