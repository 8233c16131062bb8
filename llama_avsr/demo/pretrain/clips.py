"""The clips that the encoders learn from: spoken, drawn, and kept in a cache folder.

Letters: N samples (16 kHz) and T video frames (25 Hz) of one clip.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import multiprocessing
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from datamodules.media import load_video
from datamodules.media.writing import DRAWINGS, num_video_frames, padded_to_frames, write_video
from llama_avsr.demo.corpus import lips, voice
from llama_avsr.demo.corpus.speakers import ACCENTS, PITCH_SPREAD, RATES_WPM
from llama_avsr.demo.corpus.voice import PHONES, Speaker

log = logging.getLogger(__name__)

INT16_SCALE = 32767


@dataclass(frozen=True)
class Clip:
    """One spoken sentence."""

    text: str
    waveform: np.ndarray
    """[N] int16, N a multiple of 640."""
    phone_ids: np.ndarray
    """[P] int64, indices into PHONES."""
    phone_starts: np.ndarray
    """[P] float32, seconds; a phone lasts until the next one starts."""
    frames: np.ndarray | None
    """[T, 96, 96] uint8, T = N / 640; None where nothing was drawn."""

    def labels(self, times_s: np.ndarray) -> np.ndarray:
        """The phone at each of `times_s` [T]: [T] int64."""
        return self.phone_ids[np.searchsorted(self.phone_starts, times_s, side="right") - 1]


def someone_like(speaker: Speaker, rng: random.Random) -> Speaker:
    """The same vocal tract with another accent, pitch, rate and face."""
    return dataclasses.replace(
        speaker,
        accent=rng.choice(ACCENTS),
        pitch=rng.randint(50 - PITCH_SPREAD, 50 + PITCH_SPREAD),
        rate=rng.randint(*RATES_WPM),
        face_seed=rng.getrandbits(32),
    )


def make_clip(text: str, speaker: Speaker, drawn: bool, seed: int) -> Clip:
    """Speak `text`, and draw it where `drawn`."""
    speech = voice.synthesise(text, speaker)
    num_frames = num_video_frames(len(speech.waveform))
    waveform = padded_to_frames(speech.waveform, num_frames)
    frames = None
    if drawn:
        frames = compressed(lips.draw(speech.phones, num_frames, speaker, seed))
    return Clip(
        text=text,
        waveform=np.round(waveform * INT16_SCALE).astype(np.int16),
        phone_ids=np.array([PHONES.index(phone.label) for phone in speech.phones], dtype=np.int64),
        phone_starts=np.array([phone.start_s for phone in speech.phones], dtype=np.float32),
        frames=frames,
    )


def compressed(frames: np.ndarray) -> np.ndarray:
    """`frames` [T, H, W] after a trip through a video file: the encoder must know what compression leaves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, DRAWINGS)
        return load_video(path, len(frames)).numpy()


def make_clips(
    sentences: Sequence[str],
    speakers: Sequence[Speaker],
    cache_dir: Path,
    *,
    seed: int,
    drawn: bool,
    varied: bool,
    num_workers: int = 2,
) -> list[Clip]:
    """One clip a sentence, each by a random one of `speakers`; read from `cache_dir` where it lies there.

    varied: let every clip be spoken by `someone_like` its speaker instead.
    """
    if not (cache_dir / "clips.json").exists():
        rng = random.Random(seed)
        jobs = []
        for text in sentences:
            speaker = rng.choice(speakers)
            speaker = someone_like(speaker, rng) if varied else speaker
            jobs.append((text, speaker, drawn, rng.getrandbits(32)))
        log.info("making %d clips in %s", len(jobs), cache_dir)
        with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
            _write(pool.starmap(make_clip, jobs, chunksize=16), cache_dir)
    return _read(cache_dir)


def _write(clips: Sequence[Clip], cache_dir: Path) -> None:
    cache_dir.mkdir(parents=True, exist_ok=True)
    np.save(cache_dir / "waveforms.npy", np.concatenate([clip.waveform for clip in clips]))
    np.save(cache_dir / "phone_ids.npy", np.concatenate([clip.phone_ids for clip in clips]))
    np.save(cache_dir / "phone_starts.npy", np.concatenate([clip.phone_starts for clip in clips]))
    drawn = [clip.frames for clip in clips if clip.frames is not None]
    if drawn:
        np.save(cache_dir / "frames.npy", np.concatenate(drawn))
    index = [(clip.text, len(clip.waveform), len(clip.phone_ids)) for clip in clips]
    # Written last: its presence says that the rest is whole.
    (cache_dir / "clips.json").write_text(json.dumps(index))


def _read(cache_dir: Path) -> list[Clip]:
    waveforms, phone_ids, phone_starts = (
        np.load(cache_dir / f"{name}.npy") for name in ("waveforms", "phone_ids", "phone_starts")
    )
    frames_path = cache_dir / "frames.npy"
    # Gigabytes: let the page cache hold what is used.
    frames = np.load(frames_path, mmap_mode="r") if frames_path.exists() else None
    clips, sample, phone = [], 0, 0
    for text, num_samples, num_phones in json.loads((cache_dir / "clips.json").read_text()):
        shown = slice(sample // SAMPLES_PER_VIDEO_FRAME, (sample + num_samples) // SAMPLES_PER_VIDEO_FRAME)
        spoken = slice(phone, phone + num_phones)
        clips.append(
            Clip(
                text=text,
                waveform=waveforms[sample : sample + num_samples],
                phone_ids=phone_ids[spoken],
                phone_starts=phone_starts[spoken],
                frames=None if frames is None else frames[shown],
            )
        )
        sample, phone = sample + num_samples, phone + num_phones
    return clips
