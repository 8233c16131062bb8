"""Reading clips: grey video at 25 fps and mono sound at 16 kHz, whatever the file holds.

Letters: T video frames, H and W pixels, N samples, C channels.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS

MIN_SIDE = 88
"""Pixels; the network's crop."""
MAX_SIDE = 256
"""Pixels; the face image that mouths are cut from. A larger video is no mouth crop."""
NUM_FRAMES_TOLERANCE = 2
"""Frames by which a video may differ from its label: encoders drop or repeat a frame at the ends."""
AUDIO_TOLERANCE_FRAMES = 10
AUDIO_TOLERANCE_SHARE = 0.05
"""Sound may differ more than video: codecs pad it, and it may outlast the last frame."""
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
MAX_FILTER_SIZE = 4_000_000
"""Values; usual rates need under 300 000, but one without a common factor with 16 kHz needs gigabytes."""
UNKNOWN_WAV_BYTES = 0x7FFF0000
"""Writers that do not know the length beforehand (pipes) claim this much or more."""


class MediaError(ValueError):
    """A media file that cannot be used: which, and why."""


def load_video(path: Path, num_frames: int | None = None) -> Tensor:
    """Decode a mouth clip to grey frames, uint8 [T, H, W], full range (0 black, 255 white), 25 fps.

    Frames are placed by their timestamps, so that another frame rate, constant or not, is resampled to 25 fps
    (nearest frame); a 25 fps file gives its frames one to one. The first frame is time zero.

    `num_frames` is the length the label promises. A clip up to `NUM_FRAMES_TOLERANCE` longer is cut to it;
    one up to as much shorter is returned as it is (no frame is made up).

    Raises:
        MediaError: missing, broken, truncated, no video, not the size of a mouth crop, another length.
    """
    with reading(path):
        frames, times = _decode_video(path)
        frames = frames[_at_25_fps(times)]
    if num_frames is None:
        return torch.from_numpy(frames)
    if abs(len(frames) - num_frames) > NUM_FRAMES_TOLERANCE:
        raise MediaError(f"{path}: found {len(frames)} frames of 25 fps, the label promises {num_frames}")
    return torch.from_numpy(frames[:num_frames])


def load_audio(audio_path: Path, video_path: Path | None = None, num_frames: int | None = None) -> Tensor:
    """Read `audio_path`, or the sound track of `video_path` where it does not exist: float32 [N], 16 kHz.

    Channels are averaged; other rates are resampled. `num_frames` is the length the label promises (in 25 fps
    video frames): sound far from it is an error, but nothing is cut here.

    Raises:
        MediaError: missing, broken, truncated, no sound, another length.
    """
    path = audio_path
    if video_path is not None and not audio_path.exists():
        path = video_path
    with reading(path):
        waveform, rate_hz = _read_pcm16_wav(path) or _decode_audio(path)
        if rate_hz != SAMPLE_RATE_HZ:
            waveform = _resample(path, waveform, rate_hz)
    if num_frames is not None:
        found = len(waveform) / SAMPLES_PER_VIDEO_FRAME
        if abs(found - num_frames) > max(AUDIO_TOLERANCE_FRAMES, AUDIO_TOLERANCE_SHARE * num_frames):
            raise MediaError(
                f"{path}: found {len(waveform)} samples at 16 kHz, that is {found:.1f} video frames, "
                f"the label promises {num_frames}"
            )
    return waveform


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


def _decode_video(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Grey frames uint8 [T, H, W] as the file holds them, and their times in seconds [T] from the first."""
    to_grey = _GreyConverter()
    frames, times = [], []
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise MediaError(f"{path}: expected a video, found no video track")
        stream = container.streams.video[0]
        decoder = _decoder(path, stream)
        # Loader workers are the parallelism; starting threads for each short clip costs more than it saves.
        decoder.thread_type, decoder.thread_count = "NONE", 1
        _check_size(path, decoder.width, decoder.height)
        seconds_per_frame = float(1 / stream.average_rate) if stream.average_rate else None
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise MediaError(f"{path}: frame {len(frames)} is corrupt")
            frames.append(to_grey(frame))
            times.append(_time(path, frame, len(times), seconds_per_frame))
    if not frames:
        raise MediaError(f"{path}: expected a video, found no frame")
    if len({frame.shape for frame in frames}) > 1:
        raise MediaError(f"{path}: expected frames of one size, found several")
    seconds = np.array(times)
    return np.stack(frames), seconds - seconds[0]


def _decoder(path: Path, stream: av.stream.Stream) -> av.CodecContext:
    if stream.codec_context is None:
        raise MediaError(f"{path}: its {stream.type} is in a coding that ffmpeg does not know")
    return stream.codec_context


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise MediaError(
            f"{path}: found {width}x{height} pixels, expected a mouth crop (96x96; at least {MIN_SIDE} and "
            f"at most {MAX_SIDE} a side); prepare_data.py cuts mouths out of whole faces"
        )


def _time(path: Path, frame: av.VideoFrame, index: int, seconds_per_frame: float | None) -> float:
    if frame.time is not None:
        return frame.time
    if seconds_per_frame is not None:
        return index * seconds_per_frame
    raise MediaError(f"{path}: frame {index} has no timestamp and the file no frame rate")


def _at_25_fps(times: np.ndarray) -> np.ndarray:
    """Which frame to show at 0, 1/25, 2/25, ... seconds: the nearest; [T] indices.

    `times` [n] in seconds, from 0. The last frame lasts as long as frames do on average.
    """
    if len(times) == 1:
        return np.zeros(1, dtype=np.int64)
    if np.any(np.diff(times) <= 0):
        raise ValueError("timestamps do not increase")
    duration = times[-1] + times[-1] / (len(times) - 1)
    num_frames = max(1, math.floor(duration * VIDEO_FPS + 0.5))
    wanted = np.arange(num_frames) / VIDEO_FPS
    return np.searchsorted((times[:-1] + times[1:]) / 2, wanted, side="right")


class _GreyConverter:
    """Turns decoded frames into grey, uint8 [H, W], at full range."""

    def __init__(self) -> None:
        # One for the whole clip: setting a reformatter up costs several times the conversion of a frame.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if frame.colorspace == Colorspace.ITU709 else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG if is_full_range(frame) else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        ).planes[0]
        rows = np.frombuffer(rgb, dtype=np.uint8).reshape(rgb.height, rgb.line_size)
        pixels = rows[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)
        return (pixels @ LUMA_WEIGHTS + 0.5).astype(np.uint8)


def is_full_range(frame: av.VideoFrame) -> bool:
    return frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG


def _read_pcm16_wav(path: Path) -> tuple[Tensor, int] | None:
    """Waveform and rate of a 16-bit PCM wav, without ffmpeg; None where the file is something else."""
    if path.suffix.lower() != ".wav":
        return None
    try:
        with wave.open(str(path), "rb") as file:
            num_channels, width, rate_hz, num_samples = file.getparams()[:4]
            if width != 2 or num_samples * num_channels * width >= UNKNOWN_WAV_BYTES:
                return None
            samples = np.frombuffer(file.readframes(num_samples), dtype="<i2")
    except (wave.Error, EOFError, RuntimeError):  # the last where a chunk claims to reach past the end
        return None
    if len(samples) != num_samples * num_channels:
        raise MediaError(f"{path}: truncated, found {len(samples)} of {num_samples * num_channels} samples")
    if num_samples == 0:
        raise MediaError(f"{path}: expected sound, found no sample")
    waveform = samples.reshape(-1, num_channels).mean(axis=1, dtype=np.float32) / 32768
    return torch.from_numpy(waveform), rate_hz


def _decode_audio(path: Path) -> tuple[Tensor, int]:
    """Waveform and rate of anything else ffmpeg reads."""
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise MediaError(
                f"{path}: found no sound track, and no {path.with_suffix('.wav').name} beside it"
            )
        stream = container.streams.audio[0]
        decoder = _decoder(path, stream)
        to_float = av.AudioResampler(format="fltp")
        chunks = []
        for frame in container.decode(stream):
            chunks += [chunk.to_ndarray() for chunk in to_float.resample(frame)]
        chunks += [chunk.to_ndarray() for chunk in to_float.resample(None)]
        rate_hz = decoder.sample_rate
    if not sum(chunk.shape[1] for chunk in chunks):
        raise MediaError(f"{path}: expected sound, found no sample")
    waveform = np.concatenate(chunks, axis=1).mean(axis=0, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise MediaError(f"{path}: found samples that are no numbers (NaN or infinite)")
    return torch.from_numpy(waveform), rate_hz


def _resample(path: Path, waveform: Tensor, rate_hz: int) -> Tensor:
    # The filter bank has a row for each output phase and a column for each input one.
    if not rate_hz or rate_hz * SAMPLE_RATE_HZ // math.gcd(rate_hz, SAMPLE_RATE_HZ) ** 2 > MAX_FILTER_SIZE:
        raise MediaError(f"{path}: found a sampling rate of {rate_hz} Hz, expected a usual one such as 48000")
    # Imported where it is needed: the data of this family is at 16 kHz already.
    from torchaudio.functional import resample

    return resample(waveform, rate_hz, SAMPLE_RATE_HZ)
