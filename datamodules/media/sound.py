"""The sound of a clip or a recording: mono at 16 kHz, whatever the file holds.

Letters: N samples of 16 kHz, n samples as the file has them, C channels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.media import wav
from datamodules.media.opening import (
    MediaError,
    Skipped,
    check_regular,
    decode,
    decoder_of,
    opened,
    reading,
    sounds_of,
)
from datamodules.media.pictures import MAX_GAP_SECONDS, first_time
from datamodules.media.resampling import To16kHz, check_rate
from datamodules.media.spool import Spool, release

log = logging.getLogger(__name__)

AUDIO_TOLERANCE_FRAMES = 10
AUDIO_TOLERANCE_SHARE = 0.05
"""Sound may differ more from its label than video: codecs pad it, and it may outlast the last frame."""
MAX_AMPLITUDE = 100.0
"""Of full scale. No recording has more; a file of whole numbers in place of fractions has."""
CANCELLED_SHARE = 0.1
"""Of the power that one channel alone would leave of the mean: less, and channels cancel each other."""
MIN_GAP_SECONDS = 0.005
"""After a damaged place; a longer gap is filled with silence, so that what follows keeps its time."""
SILENCE_DB = -70.0
"""Of full scale, mean of the whole recording. What is quieter is a sound track with nothing in it."""
MEASURED_SAMPLES = 2**20


def tolerated(num_frames: int) -> float:
    """Video frames by which sound may differ from a label of `num_frames`."""
    return max(AUDIO_TOLERANCE_FRAMES, AUDIO_TOLERANCE_SHARE * num_frames)


def load_audio(
    audio_path: Path,
    video_path: Path | None = None,
    num_frames: int | None = None,
    *,
    strict: bool | None = None,
    notes: list[str] | None = None,
    track: int | None = None,
) -> Tensor:
    """Read `audio_path`, or the sound track of `video_path` where it does not exist: float32 [N], 16 kHz.

    Channels are averaged; other rates are resampled. `num_frames` is the length the label promises (in 25 fps
    video frames): sound far from it is an error, but nothing is cut here.

    strict: packets that cannot be decoded are an error; left out, they are where a label speaks of the file,
    and skipped in others. notes: what was gone over is told there; a file that is cut short, or holds samples
    that are no numbers, is then used as well. track: as for `read_sound`.

    Raises:
        MediaError: missing, broken, truncated, no sound, another length.
    """
    path = audio_path
    if video_path is not None and not audio_path.exists():
        path = video_path
    longest_s = math.inf if num_frames is None else (num_frames + tolerated(num_frames)) / VIDEO_FPS
    strict = num_frames is not None if strict is None else strict
    heard = _heard(path, _Rules(strict, notes, longest_s), track)
    if heard is None:
        raise MediaError(f"{path}: found no sound track, and no {path.with_suffix('.wav').name} beside it")
    if not len(heard.waveform):
        raise MediaError(f"{path}: expected sound, found no samples")
    if num_frames is not None:
        found = len(heard.waveform) / SAMPLES_PER_VIDEO_FRAME
        if abs(found - num_frames) > tolerated(num_frames):
            raise MediaError(
                f"{path}: found {len(heard.waveform)} samples at 16 kHz, that is {found:.1f} video frames, "
                f"the label promises {num_frames}"
            )
    return torch.from_numpy(heard.waveform)


def read_sound(
    path: Path, notes: list[str] | None = None, track: int | None = None, has_picture: bool = True
) -> np.ndarray | None:
    """The sound of a recording, float32 [N]; sample 0 belongs to the first video frame, if it has any.

    None where the file has no sound track, or nothing in it. Sound that begins later than the picture is
    preceded by zeros, what lies before the picture is dropped. Of several tracks the one marked default is
    taken, or the first; if it is silent, the next that is not. track: one of them, from 1. notes: what was
    chosen and what was gone over is told there.

    Raises:
        MediaError: the sound cannot be decoded, or there is no such track.
    """
    heard = _heard(path, _Rules(False, notes), track)
    if heard is None or not len(heard.waveform):
        return None
    if not has_picture:
        return heard.waveform
    delay = round((heard.start_s - first_time(path)) * SAMPLE_RATE_HZ)
    if delay < 0:
        return heard.waveform[-delay:]
    if delay > MAX_GAP_SECONDS * SAMPLE_RATE_HZ:
        raise MediaError(f"{path}: its sound begins {delay / SAMPLE_RATE_HZ:.0f} s after its picture")
    return _later(heard.waveform, delay)


def _later(waveform: np.ndarray, delay: int) -> np.ndarray:
    """Preceded by so many zeros."""
    if not delay:
        return waveform
    spool = Spool()
    spool.add(np.zeros(delay, np.float32))
    for start in range(0, len(waveform), MEASURED_SAMPLES):
        spool.add(waveform[start : start + MEASURED_SAMPLES])
    return spool.values()


def is_silent(waveform: np.ndarray) -> bool:
    """Whether a sound track holds nothing at all."""
    return level_db(waveform) < SILENCE_DB


def level_db(waveform: np.ndarray) -> float:
    """Root mean square in dB of full scale."""
    power = 0.0
    for start in range(0, len(waveform), MEASURED_SAMPLES):
        power += float(np.square(waveform[start : start + MEASURED_SAMPLES], dtype=np.float64).sum())
        release(waveform)
    power /= max(1, len(waveform))
    return 10 * math.log10(power) if power > 0 else -math.inf


@dataclass(frozen=True)
class _Rules:
    """How strictly a file is read."""

    strict: bool
    notes: list[str] | None = None
    longest_s: float = math.inf
    """Reading ends with an error a second later."""

    def check_length(self, path: Path, seconds: float) -> None:
        if seconds > self.longest_s + 1:
            raise MediaError(
                f"{path}: found {seconds:.1f} s of sound or more, the label promises {self.longest_s:.1f}"
            )


@dataclass
class _Heard:
    """One track."""

    waveform: np.ndarray
    start_s: float
    """Of its first sample, on the file's own clock."""
    notes: list[str]


def _heard(path: Path, rules: _Rules, track: int | None) -> _Heard | None:
    """The track that is asked for, or the best; None where there is none."""
    with reading(path):
        check_regular(path)
        header = wav.read_header(path)
        if header is not None and header.sample_bytes == 2:
            heard = _mixed(path, rules, track, header)
        else:
            heard = _of_container(path, rules, track)
    if heard is not None:
        if rules.notes is None:
            for note in heard.notes:
                log.warning("%s: %s", path, note)
        else:
            rules.notes.extend(heard.notes)
    return heard


def _of_container(path: Path, rules: _Rules, track: int | None) -> _Heard | None:
    with opened(path) as container:
        streams = container.streams.audio
        numbers = [streams.index(stream) + 1 for stream in sounds_of(container)]
    if not numbers:
        return None
    if track is not None:
        if track not in numbers:
            raise MediaError(f"{path}: found {len(numbers)} sound tracks, expected one numbered {track}")
        return _mixed(path, rules, track)
    first = None
    for number in numbers[:1] if rules.strict else numbers:
        try:
            heard = _mixed(path, rules, number)
        except MediaError:
            if first is None and number == numbers[-1]:
                raise
            continue
        first = first or heard
        if rules.strict or not is_silent(heard.waveform):
            if number != numbers[0]:
                heard.notes.append(f"sound track {number} of {len(numbers)} is used: {numbers[0]} is silent")
            elif len(numbers) > 1:
                heard.notes.append(f"sound track {number} of {len(numbers)} is used")
            return heard
    return first


def _mixed(path: Path, rules: _Rules, track: int | None, header: wav.WavHeader | None = None) -> _Heard:
    """A track with its channels averaged, or the loudest where they cancel each other."""
    mix = _Mix()
    for _ in range(2):
        pieces = _Pieces(path, rules, track, mix)
        waveform = _at_16_khz(path, pieces.of_wav(header) if header else pieces.of_container(), rules)
        notes = pieces.notes()
        if mix.chosen is not None:
            notes.append(f"channels cancel each other, channel {mix.chosen + 1} alone is used")
        channel = mix.cancelled()
        if channel is None:
            break
        mix = _Mix(channel)
    return _Heard(waveform, pieces.start_s, notes)


def _at_16_khz(path: Path, pieces: Iterator[tuple[np.ndarray, int]], rules: _Rules) -> np.ndarray:
    """[N] of (mono piece, rate)s; the rate may change."""
    spool, resampler, seconds = Spool(), None, 0.0
    for piece, rate_hz in pieces:
        seconds += len(piece) / max(1, rate_hz)
        rules.check_length(path, seconds)
        if resampler is None or resampler.rate_hz != rate_hz:
            if resampler is not None:
                spool.add(resampler.end())
            resampler = To16kHz(path, rate_hz)
        spool.add(resampler(piece))
    if resampler is not None:
        spool.add(resampler.end())
    return spool.values()


@dataclass
class _Mix:
    """Averages channels, and notices where they cancel each other: one cable of two turned round."""

    chosen: int | None = None
    """One channel alone."""
    _mean: float = 0.0
    _alone: dict[int, np.ndarray] = field(default_factory=dict)
    """Power of each channel, by how many there are."""

    def __call__(self, channels: np.ndarray) -> np.ndarray:
        """float32 [C, n] -> [n]"""
        if self.chosen is not None:
            return np.ascontiguousarray(channels[min(self.chosen, len(channels) - 1)])
        mean = channels.mean(axis=0, dtype=np.float32)
        if len(channels) > 1:
            self._mean += float(np.square(mean, dtype=np.float64).sum())
            alone = np.square(channels, dtype=np.float64).sum(axis=1)
            self._alone[len(channels)] = self._alone.get(len(channels), 0.0) + alone
        return mean

    def cancelled(self) -> int | None:
        """The channel to take alone; None where the mean is good."""
        if self.chosen is not None or len(self._alone) != 1:
            return None
        [(count, alone)] = self._alone.items()
        loudest = int(alone.argmax())
        return loudest if self._mean < CANCELLED_SHARE * alone[loudest] / count**2 else None


class _Pieces:
    """Reads a file's sound piece by piece: (mono float32 [n], rate)."""

    def __init__(self, path: Path, rules: _Rules, track: int | None, mix: _Mix) -> None:
        self.path, self.rules, self.track, self.mix = path, rules, track, mix
        self.start_s = 0.0
        self._skipped = None if rules.strict else Skipped()
        self._notes: list[str] = []
        self._bad = 0

    def notes(self) -> list[str]:
        """What was gone over."""
        found = self._notes + (self._skipped.note("the sound") if self._skipped else [])
        return [*found, f"{self._bad} invalid samples were replaced by silence"] if self._bad else found

    def of_wav(self, header: wav.WavHeader) -> Iterator[tuple[np.ndarray, int]]:
        check_rate(self.path, header.rate_hz)
        self.rules.check_length(self.path, header.num_samples / header.rate_hz)
        count = 0
        for block in wav.blocks(self.path):
            count += block.shape[1]
            yield self._mono_of_pcm(block), header.rate_hz
        if count != header.num_samples:
            self._cut_short(f"truncated, found {count} of {header.num_samples} samples")

    def _mono_of_pcm(self, block: np.ndarray) -> np.ndarray:
        if len(block) > 1:
            return self.mix(block.astype(np.float32)) / np.float32(32768)
        return np.multiply(block[0], np.float32(1 / 32768), dtype=np.float32)

    def _cut_short(self, text: str) -> None:
        if self.rules.notes is None:
            raise MediaError(f"{self.path}: {text}")
        self._notes.append(text)

    def of_container(self) -> Iterator[tuple[np.ndarray, int]]:
        with opened(self.path) as container:
            stream = container.streams.audio[self.track - 1]
            decoder_of(self.path, stream)
            kind, to_float, reached = None, None, None
            for frame in decode(container, stream, self._skipped):
                check_rate(self.path, frame.sample_rate)
                if frame.layout.nb_channels > wav.MAX_CHANNELS:
                    raise MediaError(f"{self.path}: found {frame.layout.nb_channels} channels of sound")
                if reached is None:
                    reached = self.start_s = frame.time or 0.0
                if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    to_float = av.AudioResampler(format="fltp")
                if gap := self._gap(frame, reached):
                    yield np.zeros(gap, np.float32), frame.sample_rate
                    reached += gap / frame.sample_rate
                for part in to_float.resample(frame):
                    yield self.mix(self._checked(part.to_ndarray())), frame.sample_rate
                reached += frame.samples / frame.sample_rate
            if reached is None and self._skipped and self._skipped.count:
                raise MediaError(f"{self.path}: cannot be decoded ({self._skipped.first_error})")

    def _gap(self, frame: av.AudioFrame, expected: float) -> int:
        """Samples missing before a frame that follows a damaged place."""
        if self._skipped is None or not self._skipped.since_frame or frame.time is None:
            return 0
        missing = frame.time - expected
        return round(missing * frame.sample_rate) if MIN_GAP_SECONDS < missing < MAX_GAP_SECONDS else 0

    def _checked(self, channels: np.ndarray) -> np.ndarray:
        good = np.abs(channels) <= MAX_AMPLITUDE  # False for what is no number
        if good.all():
            return channels
        if self.rules.notes is None:
            raise MediaError(
                f"{self.path}: found invalid samples (NaN, infinite, or more than "
                f"{MAX_AMPLITUDE:g} times full scale)"
            )
        self._bad += int((~good).sum())
        return np.where(good, channels, np.float32(0))
