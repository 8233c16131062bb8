"""Clips that the page offers to try."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import av

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.media import load_audio
from llama_avsr.transcription.reading import contents

MAX_EXAMPLES = 20
FLAC_BLOCK = 4096
"""Samples."""
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
    with av.open(str(path)) as source, av.open(str(copy), "w", format="mp4") as target:
        picture = source.streams.video[0]
        copied = target.add_stream_from_template(picture)
        sound = target.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", options={"strict": "-2"})
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
        samples = (load_audio(beside).numpy() * 32768).round().clip(-32768, 32767).astype("<i2")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        for part in fifo.read_many(FLAC_BLOCK, partial=True):
            target.mux(sound.encode(part))
        # The encoder ends with an empty packet, which has no place in time.
        target.mux([packet for packet in sound.encode(None) if packet.size])
    return copy


def looks_cropped(path: Path) -> bool:
    """Whether a video is a mouth crop, by its size; False for what is no video."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            streams = container.streams.video
            return bool(streams) and streams[0].width == streams[0].height <= MAX_CROP_SIDE
    except (OSError, ValueError):  # PyAV's own errors are both
        return False
