"""What is logged besides curves: sample predictions and panels, and the files that they are made of."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, VIDEO_FPS


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A decoded clip to look at and listen to."""

    id: str
    reference: str
    hypothesis: str
    scores: Mapping[str, float]
    """Its figures by name, such as "WER (%)": a column each."""
    audio: np.ndarray | None = None
    """[N] float32 in -1..1, 16 kHz."""
    video: np.ndarray | None = None
    """[T, H, W] uint8 grey, 25 fps."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A table of figures with a plot of them: error rates by noise and SNR."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    """As many cells as the header has."""
    markdown: str
    """The same for a reader."""
    lines: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    """Noise -> SNR in dB -> error rate in percent."""
    picture: Path | None = None
    """A PNG of the lines."""


def scores_of(samples: Sequence[Sample]) -> list[str]:
    """The names of a table's figures; a clip may lack some."""
    return list(dict.fromkeys(name for sample in samples for name in sample.scores))


def markdown_of(samples: Sequence[Sample]) -> str:
    names = scores_of(samples)
    rows = [
        [one.id, one.reference, one.hypothesis, *(_figure(one, name) for name in names)] for one in samples
    ]
    header = ["id", "reference", "hypothesis", *names]
    return "\n".join(_row(cells) for cells in (header, ["---"] * len(header), *rows))


def _figure(sample: Sample, name: str) -> str:
    return f"{sample.scores[name]:.4g}" if name in sample.scores else ""


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def write_wav(path: Path, waveform: np.ndarray) -> str:
    """Write [N] floats in -1..1 (louder is clipped) as 16-bit, 16 kHz. Returns the path."""
    samples = np.clip(np.asarray(waveform, dtype=np.float64) * 32767, -32768, 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())
    return str(path)


def write_mp4(path: Path, frames: np.ndarray) -> str:
    """Write [T, H, W] uint8 grey frames at 25 fps, as H.264 that browsers play. Returns the path."""
    import av

    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.dtype != np.uint8:
        raise ValueError(f"found video {list(frames.shape)} of {frames.dtype}; expected [T, H, W] of uint8")
    # 4:2:0 halves both sides of the colour planes.
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2)), mode="edge")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(VIDEO_FPS), options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray"))
            )
        container.mux(stream.encode())
    return str(path)
