"""Which videos to work on: files, folders, lists."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
"""What counts as a video in a folder; a file that is named itself may have any other."""
SOUND_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2"),
    *(".mp3", ".oga", ".ogg", ".opus", ".wav", ".weba", ".wma"),
)
LIST_SUFFIXES = (".txt", ".lst")


@dataclass(frozen=True)
class Source:
    """One video, and its place below the folder that is worked through."""

    path: Path
    rel_path: Path

    @property
    def stem(self) -> Path:
        """`rel_path` without its suffix: names what is made of it."""
        return self.rel_path.with_suffix("")


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """The videos that `inputs` mean, sorted by place.

    A folder means all videos in it and below, a .txt or .lst file the paths on its lines (relative ones from
    the list's folder), anything else is a video.

    Raises:
        ValueError: something is missing, there is no video, or two would have one name.
    """
    found: dict[Path, Source] = {}
    for path in inputs:
        for source in _sources(Path(path)):
            other = found.setdefault(source.stem, source)
            if other.path.resolve() != source.path.resolve():
                raise ValueError(
                    f"{source.path} and {other.path} would both become {source.stem}.mp4; expected different "
                    "names, or a folder that holds both"
                )
    if not found:
        raise ValueError(f"found no video in {', '.join(map(str, inputs))}")
    return [found[stem] for stem in sorted(found)]


def videos_below(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """All videos in a folder and below it, sorted; nothing hidden, nothing in the folder `leave_out`."""
    return files_below(folder, VIDEO_SUFFIXES, leave_out)


def recordings_below(folder: Path) -> list[Path]:
    """All videos and sound files in a folder and below it, sorted; not the sound that belongs to a video: a
    file of its name beside it."""
    videos = videos_below(folder)
    stems = {path.with_suffix("") for path in videos}
    sounds = [p for p in files_below(folder, SOUND_SUFFIXES) if p.with_suffix("") not in stems]
    return sorted(videos + sounds)


def files_below(folder: Path, suffixes: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """All files with one of these suffixes in a folder and below it, sorted; links to folders are followed.
    Hidden ones and what lies in `leave_out` do not count."""
    unwanted = leave_out.resolve() if leave_out is not None else None
    found, entered = [], {folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = {name: Path(parent, name).resolve() for name in sorted(folders) if name[0] != "."}
        # A link may lead in a circle, or twice to one folder.
        folders[:] = [n for n, path in real.items() if path != unwanted and path not in entered]
        entered.update(real.values())
        found += [Path(parent, name) for name in names if name[0] != "."]
    return sorted(path for path in found if path.suffix.lower() in suffixes)


def _sources(path: Path) -> Iterator[Source]:
    if path.is_dir():
        yield from (Source(video, video.relative_to(path)) for video in videos_below(path))
    elif not path.is_file():
        raise ValueError(
            f"{path}: no such file or folder; expected videos, folders of them, or lists of them"
        )
    elif path.suffix.lower() in LIST_SUFFIXES:
        yield from _in_list(path)
    else:
        yield Source(path, Path(path.name))


def _in_list(path: Path) -> Iterator[Source]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a list of videos, one path a line, in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        video = path.parent / line.strip()
        if not video.is_file():
            raise ValueError(f"{path}:{number}: expected a video at {video}, found none")
        below = video.is_relative_to(path.parent) and ".." not in video.parts
        yield Source(video, video.relative_to(path.parent) if below else Path(video.name))
