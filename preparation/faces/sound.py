"""The sound of a recording: 16 kHz mono, beginning with its first video frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.media import MediaError, reading
from preparation.faces.video import first_time


def read_sound(path: Path) -> np.ndarray | None:
    """float32 [N] in -1..1 at 16 kHz, channels averaged; sample 0 belongs to the first video frame.

    None where the file has no sound track. Sound that begins later than the picture is preceded by zeros,
    what lies before the picture is dropped.

    Raises:
        MediaError: the sound cannot be decoded.
    """
    chunks: list[np.ndarray] = []
    start = None
    with reading(path), av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: its sound is in a coding that ffmpeg does not know")
        # Channels are averaged here: ffmpeg's own mix to mono adds them up at another level.
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE_HZ)
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            chunks += [_mono(piece) for piece in resampler.resample(frame)]
        chunks += [_mono(piece) for piece in resampler.resample(None)]
    if not sum(map(len, chunks)):
        return None
    waveform = np.concatenate(chunks)
    if not np.isfinite(waveform).all():
        raise MediaError(f"{path}: found samples that are no numbers (NaN or infinite)")
    return _shifted(waveform, (start or 0.0) - first_time(path))


def _mono(frame: av.AudioFrame) -> np.ndarray:
    return frame.to_ndarray().mean(axis=0, dtype=np.float32)


def _shifted(waveform: np.ndarray, delay_seconds: float) -> np.ndarray:
    samples = round(delay_seconds * SAMPLE_RATE_HZ)
    return waveform[-samples:] if samples < 0 else np.pad(waveform, (samples, 0))
