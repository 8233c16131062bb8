"""The demo's test clips joined to one long recording, with the time at which every word ends.

Letters: T frames of 25 per second, N samples of 16 kHz.
"""

from __future__ import annotations

import csv
import difflib
import functools
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.media import load_audio, load_video
from datamodules.media.writing import padded_to_frames, write_video, write_waveform
from llama_avsr.demo.corpus.espeak import speak
from llama_avsr.demo.corpus.phones import SILENCE, from_espeak

SETS = ("test_unseen", "test_seen")
PAUSE_FRAMES = (18, 38)
"""Between two sentences, drawn."""
ROOM_NOISE = 3e-4
"""Standard deviation: as in the clips."""


@dataclass(frozen=True)
class SpokenWord:
    """When a word was said, in seconds of the recording."""

    text: str
    start_s: float
    end_s: float


def join(root: Path, folder: Path, minutes: float, seed: int = 0) -> tuple[Path, list[SpokenWord]]:
    """Write `folder`/joined.mp4 (mouths) and .wav, unless they are there; returns the video and its words.

    Raises ValueError where `root` is no data of the demo.
    """
    video, words = folder / "joined.mp4", folder / "words.json"
    if not words.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        spoken = _write(root, video, round(minutes * 60 * VIDEO_FPS), random.Random(seed))
        words.write_text(json.dumps([asdict(word) for word in spoken]))
    return video, [SpokenWord(**word) for word in json.loads(words.read_text())]


def _write(root: Path, video: Path, num_frames: int, draw: random.Random) -> list[SpokenWord]:
    phones = _phones(root / "demo" / "phones.csv")
    rng = np.random.default_rng(draw.randrange(2**32))
    mouths: list[np.ndarray] = []
    sound: list[np.ndarray] = []
    words: list[SpokenWord] = []
    frames = 0
    for rel_path, text in _clips(root):
        pause = draw.randint(*PAUSE_FRAMES)
        picture = load_video(root / "demo" / rel_path).numpy()
        if frames + pause + len(picture) > num_frames:
            break
        waveform = load_audio((root / "demo" / rel_path).with_suffix(".wav")).numpy()
        mouths += [*[picture[0]] * pause, *picture]
        silence = ROOM_NOISE * rng.standard_normal(pause * SAMPLES_PER_VIDEO_FRAME, dtype=np.float32)
        sound += [silence, padded_to_frames(waveform, len(picture))]
        start_s = (frames + pause) / VIDEO_FPS
        said = phones[f"demo/{Path(rel_path).with_suffix('')}"]
        words += [
            SpokenWord(word, start_s + start, start_s + end)
            for word, start, end in word_times(text.split(), said, Path(rel_path).parent.name.split("_")[0])
        ]
        frames += pause + len(picture)
    write_video(video, mouths)
    write_waveform(video.with_suffix(".wav"), np.concatenate(sound))
    return words


def _clips(root: Path) -> Iterator[tuple[str, str]]:
    for name in SETS:
        path = root / "labels" / f"demo_{name}_transcript_lengths_seg16s_LLM_lowercase.csv"
        if not path.is_file():
            raise ValueError(
                f"{root}: expected the demo's data (llama-avsr prepare demo), found no {path.name}"
            )
        for line in path.read_text(encoding="utf-8").splitlines():
            _, rel_path, _, _, text = line.split(",")
            yield rel_path, text


def _phones(path: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Clip -> (phone, start, end) in seconds."""
    found = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["utt"]].append((row["phone"], float(row["start_s"]), float(row["end_s"])))
    return found


def word_times(
    words: Sequence[str], phones: Sequence[tuple[str, float, float]], accent: str
) -> list[tuple[str, float, float]]:
    """When each word of a sentence begins and ends, by the phones that it has when it is said alone."""
    alone = [(phone, index) for index, word in enumerate(words) for phone in _said(word, accent)]
    spoken = [phone for phone in phones if phone[0] != SILENCE]
    matcher = difflib.SequenceMatcher(None, [p for p, _ in alone], [p for p, _, _ in spoken], autojunk=False)
    owner: list[int | None] = [None] * len(spoken)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            owner[block.b + offset] = alone[block.a + offset][1]
    # A phone that is said otherwise in the sentence belongs to the word of the one before.
    for place in range(len(owner)):
        if owner[place] is None:
            owner[place] = owner[place - 1] if place else 0
    found = []
    for index, word in enumerate(words):
        own = [phone for phone, of in zip(spoken, owner, strict=True) if of == index]
        end = own[-1][2] if own else (found[-1][2] if found else 0.0)
        found.append((word, own[0][1] if own else end, end))
    return found


@functools.cache
def _said(word: str, accent: str) -> tuple[str, ...]:
    spelled = "[['eI]]" if word == "a" else word
    labels = [from_espeak(mnemonic) for mnemonic, _ in speak(spelled, accent, pitch=50, rate=160).phonemes]
    return tuple(label for label in labels if label != SILENCE)
