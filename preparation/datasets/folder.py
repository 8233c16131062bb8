"""A folder of videos, each with its text beside it: `clip.mp4` and `clip.srt`, `clip.vtt` or `clip.txt`."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from preparation.datasets import Item
from preparation.datasets.segments import LeftOut
from preparation.datasets.transcripts import SUBTITLE_SUFFIXES, BesideReader
from preparation.faces.sources import VIDEO_SUFFIXES, videos_below

SUBSETS = ("train", "val", "test")
TEXT_SUFFIXES = (*SUBTITLE_SUFFIXES, ".txt")
"""In this order: what has times comes first."""
_TAGGED = re.compile(r"(.+)\.[A-Za-z]{2,3}(?:[-_][A-Za-z]+)?")
"""A stem that names its language: `clip.en`, `clip.pt-BR`."""
_UNWANTED = re.compile(r"[^\w.+@=/-]+")


def items(
    source_dir: Path,
    *,
    verbatim: bool = False,
    val_share: float = 0.0,
    test_share: float = 0.0,
    leave_out: Path | None = None,
) -> tuple[list[Item], list[tuple[str, LeftOut]]]:
    """Videos that have a text, in order of path; and those without (name, reason).

    What lies in a folder `train`, `val` or `test` of `source_dir` is of that subset. Of the rest `val_share`
    and `test_share` are held out, by a hash of the path: a video stays where it is when others come. All
    clips of a video are of one subset. `leave_out` is a folder not to look into.

    Raises:
        ValueError: no such folder, or no video in it.
    """
    source_dir = Path(source_dir)
    if not source_dir.is_dir():
        raise ValueError(f"{source_dir}: no such folder; --source-dir names the folder with your videos")
    videos = videos_below(source_dir, leave_out)
    texts = _Texts()
    if not videos:
        raise ValueError(f"{source_dir}: expected videos ({' '.join(VIDEO_SUFFIXES)}), found none")
    found, without, names = [], [], {}
    for video in videos:
        rel_path = video.relative_to(source_dir)
        subset, name = _place(rel_path, val_share, test_share)
        beside = texts.beside(video)
        if beside is None:
            expected = f"{video.stem}.srt, .vtt or .txt"
            without.append((name, LeftOut("no text beside it", f"{video}: expected {expected}")))
        elif name in names:
            without.append((name, LeftOut("two videos with the same name", f"{video} and {names[name]}")))
        else:
            names[name] = video
            found.append(
                Item(
                    name=name,
                    subset=subset,
                    video=video,
                    transcript=beside,
                    read=BesideReader(verbatim),
                    rel_path=rel_path,
                    # A text without times cannot be divided; a talk with subtitles may show slides.
                    one_mouth=beside.suffix.lower() not in SUBTITLE_SUFFIXES,
                )
            )
    return found, without


def _place(rel_path: Path, val_share: float, test_share: float) -> tuple[str, str]:
    """Subset and name (`train/talks/one`); commas, spaces and the like, which label files know, become _."""
    parts = rel_path.with_suffix("").parts
    if len(parts) > 1 and parts[0] in SUBSETS:
        subset, parts = parts[0], parts[1:]
    else:
        digest = hashlib.sha256(rel_path.as_posix().encode()).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        subset = "test" if drawn < test_share else "val" if drawn < test_share + val_share else "train"
    return subset, _UNWANTED.sub("_", "/".join((subset, *parts)))


class _Texts:
    """The texts beside videos. Every folder is listed once: it may hold a hundred thousand clips."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[tuple[str, str], str]] = {}

    def beside(self, video: Path) -> Path | None:
        """`clip.srt` before `clip.en.srt`, each before `clip.vtt`, each before `clip.txt`."""
        folder = video.parent
        if folder not in self._folders:
            self._folders[folder] = _texts_in(folder)
        found = (self._folders[folder].get((video.stem, suffix)) for suffix in TEXT_SUFFIXES)
        name = next((name for name in found if name is not None), None)
        return None if name is None else folder / name


def _texts_in(folder: Path) -> dict[tuple[str, str], str]:
    """The name of the best text for each (stem of a video, suffix)."""
    best: dict[tuple[str, str], str] = {}
    tagged: dict[tuple[str, str], str] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix in TEXT_SUFFIXES:
            best[stem, suffix] = name
            if match := _TAGGED.fullmatch(stem):
                tagged.setdefault((match[1], suffix), name)
    return {**tagged, **best}
