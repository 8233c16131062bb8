"""A recording that arrives in pieces, as a browser's MediaRecorder sends it (WebM, or MP4 in fragments).

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.media import MediaError
from datamodules.media.pictures import MAX_SIDE as CROP_MAX_SIDE
from datamodules.media.pictures import MIN_SIDE, Picture, at_25_fps
from datamodules.media.pixels import ToGrey
from llama_avsr.live.feed import Taken
from llama_avsr.transcription.modality import NO_PICTURE

PROBE = {"probesize": "65536", "analyzeduration": "0", "protocol_whitelist": ""}
"""ffmpeg otherwise waits for seconds of a recording before its first frame, and may open addresses."""
FORMATS = {"webm": "matroska", "mp4": "mp4"}
MAX_SIDE = 1920
TOLERATED_SAMPLES = SAMPLE_RATE_HZ // 10
"""Between where sound is and where its time says."""
MAX_GAP_SAMPLES = 2 * SAMPLE_RATE_HZ
"""Of sound that is missing, silence takes the place of as much."""
PATIENCE_SECONDS = 30.0
MAX_WAITING_BYTES = 32 * 2**20


class Pipe:
    """Bytes go in at one end and out at the other, which waits for them."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._changed = threading.Condition()
        self._ended = False

    def write(self, piece: bytes) -> None:
        """Raises MediaError where too much has not been read yet."""
        with self._changed:
            if len(self._bytes) + len(piece) > MAX_WAITING_BYTES:
                raise MediaError("the recording arrives faster than it can be read: record a smaller picture")
            self._bytes += piece
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def read(self, count: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes or self._ended)
            piece = bytes(self._bytes[:count])
            del self._bytes[:count]
            return piece


class Upload:
    """A source that is fed by somebody else.

    kind: one of FORMATS. picture: whether it is wanted. cropped: whether it shows a mouth and nothing else.
    """

    def __init__(self, kind: str, picture: bool, cropped: bool = False) -> None:
        if kind not in FORMATS:
            raise ValueError(f"found a recording of kind {kind!r}, expected {' or '.join(FORMATS)}")
        self.pipe = Pipe()
        self._kind, self._picture, self._cropped = FORMATS[kind], picture, cropped
        self._lacking: dict[str, str] = {}
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self._sound: list[np.ndarray] = []
        self._pictures: list[Any] = []
        self._ended, self.error = False, ""
        self._first_picture: float | None = None
        self._samples = 0
        threading.Thread(target=self._decode, daemon=True).start()

    def lacking(self) -> dict[str, str]:
        """Media that it does not have, with the reasons, once that is known.

        Raises MediaError where nothing comes for 30 s.
        """
        if not self._opened.wait(PATIENCE_SECONDS):
            self.close()
            raise MediaError("nothing of the recording came")
        return self._lacking

    def take(self, now: float) -> Taken:
        if self.error:
            raise MediaError(f"the recording cannot be read ({self.error})")
        with self._lock:
            sound, pictures, ended = self._sound, self._pictures, self._ended
            self._sound, self._pictures = [], []
        return Taken(np.concatenate([np.zeros(0, np.float32), *sound]), pictures, ended)

    def close(self) -> None:
        self.pipe.end()

    def _decode(self) -> None:
        try:
            with av.open(self.pipe, format=self._kind, options=PROBE) as container:
                if not container.streams.audio:
                    self._lacking["audio"] = "it was recorded without sound"
                if not container.streams.video:
                    self._lacking["video"] = NO_PICTURE
                self._opened.set()
                for view in self._views(container):
                    with self._lock:
                        self._pictures.append(view)
        except (av.FFmpegError, OSError, ValueError) as error:
            self.error = str(error)
        self._ended = True
        self._opened.set()

    def _views(self, container: av.container.InputContainer) -> Iterator[Any]:
        """The pictures at 25 per second; sound is put aside as it comes along."""
        if not self._picture or not container.streams.video:
            self._first_picture = 0.0
            for _ in self._frames(container):
                pass
            return
        convert = ToGrey() if self._cropped else _to_view()
        for picture in at_25_fps(self._frames(container)):
            yield picture.pixels(convert)

    def _frames(self, container: av.container.InputContainer) -> Iterator[Picture]:
        to_mono = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE_HZ)
        waiting: list[av.AudioFrame] = []
        last = -1.0
        streams = [*container.streams.audio[:1], *container.streams.video[:1]]
        for frame in container.decode(streams):
            if isinstance(frame, av.AudioFrame):
                waiting.append(frame)
            elif self._picture:
                self._check(frame.width, frame.height)
                if self._first_picture is None:
                    self._first_picture = frame.time
                seconds = frame.time - self._first_picture
                if seconds > last:
                    last = seconds
                    yield Picture(frame, frame.time, seconds, Fraction(1))
            if self._first_picture is not None:
                for sound in waiting:
                    self._hear(sound, to_mono)
                waiting = []

    def _check(self, width: int, height: int) -> None:
        least, most = (MIN_SIDE, CROP_MAX_SIDE) if self._cropped else (1, MAX_SIDE)
        if min(width, height) < least or max(width, height) > most:
            raise ValueError(f"found {width}x{height} pixels, expected sides of {least} to {most}")

    def _hear(self, frame: av.AudioFrame, to_mono: av.AudioResampler) -> None:
        """Sample 0 is at the first picture."""
        parts = [part.to_ndarray()[0] for part in to_mono.resample(frame)]
        sound = np.concatenate([np.zeros(0, np.float32), *parts])
        gap = round((frame.time - self._first_picture) * SAMPLE_RATE_HZ) - self._samples
        if not self._samples or abs(gap) > TOLERATED_SAMPLES:
            silence = np.zeros(max(0, min(gap, MAX_GAP_SAMPLES)), np.float32)
            sound = np.concatenate([silence, sound[max(0, -gap) :]])
        self._samples += len(sound)
        with self._lock:
            self._sound.append(sound)


def _to_view() -> Callable[[av.VideoFrame], Any]:
    from preparation.faces.views import Converters, View  # OpenCV comes with an extra

    return functools.partial(View, Converters(None))
