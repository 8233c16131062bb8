"""Clips that the page offers to try."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from datamodules.media import MediaError, load_audio
from datamodules.media.headers import read_header
from datamodules.media.writing import with_sound
from llama_avsr.transcription.reading import contents

MAX_EXAMPLES = 20
MAX_CROP_SIDE = 128
"""Pixels; a square picture of no more is taken for a mouth crop."""


class Examples:
    """The videos in a folder and below: at most 20, evenly chosen. Without a folder there are none.

    Raises ValueError for a folder without a video.
    """

    def __init__(self, folder: Path | None) -> None:
        self._videos = {} if folder is None else _find(folder)
        self._copies = tempfile.TemporaryDirectory(prefix="examples_")

    @property
    def names(self) -> list[str]:
        return list(self._videos)

    def show(self, name: str) -> str | None:
        """A file that a browser plays; None where there is no such example."""
        video = self._videos.get(name)
        return None if video is None else str(playable(video, Path(self._copies.name)))


def _find(folder: Path) -> dict[str, Path]:
    from preparation.faces.sources import find_sources

    sources = find_sources([folder])
    count = min(MAX_EXAMPLES, len(sources))
    chosen = [sources[i * len(sources) // count] for i in range(count)]
    return {str(source.rel_path): source.path for source in chosen}


def playable(path: Path, folder: Path) -> Path:
    """A copy in `folder`; a sound that lies beside the video as a .wav becomes its sound track, lossless."""
    beside, copy = path.with_suffix(".wav"), folder / path.name
    if contents(path).sound or beside == path or not beside.is_file():
        shutil.copyfile(path, copy)
        return copy
    with_sound(path, load_audio(beside).numpy(), copy)
    return copy


def looks_cropped(path: Path) -> bool:
    """Whether a video is a mouth crop, by its size; False for what is no video."""
    try:
        header = read_header(path)
    except MediaError:
        return False
    return header.width == header.height <= MAX_CROP_SIDE
