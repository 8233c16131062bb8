"""Opening media files: what is refused beforehand, which track is meant, and damage that is gone over."""

from __future__ import annotations

import os
import stat
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.stream import Disposition

from datamodules.media.packed import Packed, readable

PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"v=0\n", b"v=0\r")
PLAYLIST_BYTES = 1024
"""Playlists only name other files, or addresses; a live one is waited for without end."""
MAX_READ_ERRORS = 3
"""In a row, after which a file counts as at its end."""


class MediaError(ValueError):
    """A media file that cannot be used: which, and why."""


@contextmanager
def reading(path: Path, what: str = "decoded") -> Iterator[None]:
    """Turn what decoders raise into a MediaError: `path` cannot be `what`."""
    try:
        yield
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except (av.FFmpegError, wave.Error, OSError, EOFError, ValueError) as error:
        raise MediaError(f"{path}: cannot be {what} ({type(error).__name__}: {error})") from error


def check_regular(path: Path | Packed) -> None:
    """Raises MediaError for a pipe, a device, a folder, a playlist: opening one may wait for ever."""
    if isinstance(path, Packed):
        head = path.read()[:PLAYLIST_BYTES]
    else:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
            raise MediaError(
                f"{path}: found {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a media file"
            )
        with path.open("rb") as file:
            head = file.read(PLAYLIST_BYTES)
    if head.startswith(PLAYLIST_STARTS) or b"<MPD" in head:
        raise MediaError(f"{path}: found a playlist, expected a media file")


@contextmanager
def opened(path: Path | Packed, what: str = "decoded") -> Iterator[av.container.InputContainer]:
    """The file, opened by ffmpeg. Raises MediaError, inside the block too."""
    with reading(path, what):
        check_regular(path)
        # "file:", or a colon in the name would be taken for a protocol; nothing but files is opened.
        options = {"protocol_whitelist": "file"}
        source = readable(path) if isinstance(path, Packed) else f"file:{path}"
        with av.open(source, metadata_errors="ignore", options=options) as container:
            yield container


def pictures_of(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Tracks of moving pictures, those marked default first; no covers."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return sorted(moving, key=_not_default)


def sounds_of(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Tracks of sound, those marked default first."""
    return sorted(container.streams.audio, key=_not_default)


def _not_default(stream: av.stream.Stream) -> bool:
    return not stream.disposition & Disposition.default


def decoder_of(path: Path, stream: av.stream.Stream) -> av.CodecContext:
    """Set to one thread. Raises MediaError where ffmpeg knows none."""
    if stream.codec_context is None:
        raise MediaError(f"{path}: its {stream.type} is in a coding that ffmpeg does not know")
    decoder = stream.codec_context
    # Loader workers and the processes of preparation are the parallelism.
    if stream.type == "video":
        decoder.thread_type, decoder.thread_count = "NONE", 1
    return decoder


@dataclass
class Skipped:
    """Places that cannot be decoded and were gone over."""

    count: int = 0
    first_s: float = 0.0
    first_error: Exception | None = None
    reached_s: float = 0.0
    """Time of the last good frame."""
    since_frame: bool = False
    """Whether something was skipped since the last frame."""

    def add(self, error: Exception) -> None:
        if not self.count:
            self.first_s, self.first_error = self.reached_s, error
        self.count += 1
        self.since_frame = True

    def note(self, what: str) -> list[str]:
        """For the reader of a transcript; [] where nothing was skipped."""
        if not self.count:
            return []
        places = "a damaged place was" if self.count == 1 else f"{self.count} damaged places were"
        return [f"{what}: {places} skipped, after {self.first_s:.1f} s ({self.first_error})"]


def decode(
    container: av.container.InputContainer, stream: av.stream.Stream, skipped: Skipped | None
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """The frames of a track. With `skipped`, what cannot be decoded is counted there instead of raised."""
    if skipped is None:
        yield from container.decode(stream)
        return
    for packet in _packets(container, stream, skipped):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            skipped.add(error)
            continue
        for frame in frames:
            skipped.reached_s = skipped.reached_s if frame.time is None else frame.time
            yield frame
            skipped.since_frame = False


def _packets(
    container: av.container.InputContainer, stream: av.stream.Stream, skipped: Skipped
) -> Iterator[av.Packet]:
    failures = 0
    while failures < MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
            return
        except av.FFmpegError as error:
            failures += 1
            if failures == 1:
                skipped.add(error)
