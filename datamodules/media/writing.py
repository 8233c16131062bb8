"""Writing video and sound: H.264 in mp4, alone or with a sound track, and 16 kHz wav.

Files appear under their names only when they are whole. Letters: T frames, H and W pixels, N samples.
"""

from __future__ import annotations

import itertools
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.files import whole_or_nothing


@dataclass(frozen=True)
class Encoding:
    """How closely H.264 keeps to the pixels."""

    crf: int
    """x264's constant rate factor: lower is better and larger."""
    preset: str = "medium"
    threads: int = 1
    """With one the bytes do not depend on the machine; 0 takes as many as there are."""


MOUTHS = Encoding(crf=16, preset="faster")
"""Mouths are small and are looked at closely. Slower presets save 4 % of the bytes, and come no closer."""
DRAWINGS = Encoding(crf=26, preset="veryfast")
SHOWN = Encoding(crf=20, threads=0)
"""Pictures of any size, to be looked at."""


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    encoding: Encoding = MOUTHS,
    waveform: np.ndarray | None = None,
) -> None:
    """Write `frames`, uint8 [H, W] (grey) or [H, W, 3] (RGB) each, full range, as H.264 at 25 fps.

    An odd side loses its last row or column, which H.264 cannot hold. waveform: [N] at 16 kHz, written along
    as AAC.
    """
    frames = iter(frames)
    first = next(frames)
    height, width = (side - side % 2 for side in first.shape[:2])
    kind = "gray" if first.ndim == 2 else "rgb24"
    # Without x264's macroblock tree: with it equal frames now and then give other bytes, even on one thread.
    options = {"crf": str(encoding.crf), "preset": encoding.preset, "mbtree": "0"}
    with whole_or_nothing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = encoding.threads
        sound = None if waveform is None else SoundTrack(container, waveform, "aac")
        for t, frame in enumerate(itertools.chain([first], frames)):
            image = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=kind)))
            if sound is not None:
                sound.write((t + 1) * SAMPLES_PER_VIDEO_FRAME)
        container.mux(stream.encode())
        if sound is not None:
            sound.end()


def with_sound(video: Path, waveform: np.ndarray, target: Path) -> None:
    """Copy a video's picture as it is, with `waveform` [N] as a lossless sound track (mp4, FLAC)."""
    with av.open(str(video)) as source, av.open(str(target), "w", format="mp4") as container:
        picture = source.streams.video[0]
        copied = container.add_stream_from_template(picture)
        sound = SoundTrack(container, waveform, "flac")
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copied
                container.mux(packet)
        sound.write(len(waveform))
        sound.end()


class SoundTrack:
    """Sound that is written along with the picture, so that players find both in one place."""

    def __init__(self, container: av.container.OutputContainer, waveform: np.ndarray, codec: str) -> None:
        options = {"strict": "-2"} if codec == "flac" else {}
        self._container = container
        self._stream = container.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="mono", options=options)
        self._lossless, self._block = codec == "flac", 4096 if codec == "flac" else 1024
        self._fifo = av.AudioFifo()
        self._waveform = waveform
        self._written = 0

    def write(self, until: int) -> None:
        """The samples before `until`."""
        samples = self._waveform[self._written : until]
        if len(samples):
            frame = av.AudioFrame.from_ndarray(*self._values(samples), layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, self._written
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            self._fifo.write(frame)
            self._written += len(samples)
        self._encode(partial=False)

    def end(self) -> None:
        self._encode(partial=True)
        # An encoder may end with an empty packet, which has no place in time.
        self._container.mux([packet for packet in self._stream.encode(None) if packet.size])

    def _values(self, samples: np.ndarray) -> tuple[np.ndarray, str]:
        if self._lossless:
            return (samples[None] * 32768).round().clip(-32768, 32767).astype("<i2"), "s16"
        return np.ascontiguousarray(samples[None], dtype=np.float32), "fltp"

    def _encode(self, partial: bool) -> None:
        for frame in self._fifo.read_many(self._block, partial=partial):
            self._container.mux(self._stream.encode(frame))


def write_waveform(path: Path, waveform: np.ndarray) -> None:
    """Write `waveform` [N] float32 in [-1, 1] as 16 kHz mono 16-bit wav."""
    samples = (waveform.clip(-1, 1) * 32767).round().astype("<i2")
    with whole_or_nothing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())


def num_video_frames(num_samples: int) -> int:
    """Frames that cover `num_samples` samples; the last may reach past them."""
    return -(-num_samples // SAMPLES_PER_VIDEO_FRAME)


def padded_to_frames(waveform: np.ndarray, num_frames: int) -> np.ndarray:
    """`waveform` [N], cut or followed by zeros: [num_frames * 640]."""
    length = num_frames * SAMPLES_PER_VIDEO_FRAME
    kept = waveform[:length]
    return np.pad(kept, (0, length - len(kept)))
