"""What a demo corpus will hold: who says what, and under which name."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from llama_avsr.demo.corpus import grammar
from llama_avsr.demo.corpus.speakers import Speaker, babble_speakers, training_speakers, unseen_speakers
from llama_avsr.demo.corpus.visemes import DIFFICULTY, Difficulty

FORMAT_VERSION = 2
"""Raise it whenever the same settings would give other files: corpora made before are then made anew."""

SPLITS: tuple[str, ...] = ("train", "val", "test_seen", "test_unseen")

DATASET = "demo"
VIDEO_FOLDER = "demo_video_seg16s"
TEXT_FOLDER = "demo_text_seg16s"

BABBLE_SENTENCES = 40
"""Sentences of each babbling voice; over a minute of speech."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the files of a corpus depend on."""

    num_train: int = 1000
    """Clips of the training set."""
    num_val: int = 60
    """Clips of the validation set."""
    num_test: int = 100
    """Clips of each of the two test sets."""
    seed: int = 0
    """Chooses the sentences, and the lips' deviations."""
    difficulty: Difficulty = DIFFICULTY

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val", "num_test"):
            if (found := getattr(self, name)) < 1:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"found {flag} {found}; expected 1 or more")

    def as_json(self) -> dict[str, object]:
        """For corpus.json: equal exactly where the files would be."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip to be made."""

    split: str
    speaker: Speaker
    index: int
    text: str

    @property
    def name(self) -> str:
        """`split/speaker/index`: the clip's path in the video and the text folder, without suffix."""
        return f"{self.split}/{self.speaker.name}/{self.index:05d}"

    @property
    def rel_path(self) -> str:
        """Path of the video in the data set's folder, as a label file names it."""
        return f"{VIDEO_FOLDER}/{self.name}.mp4"

    @property
    def id(self) -> str:
        """As `Utterance.id` of the clip read back from a label file."""
        return f"{DATASET}/{VIDEO_FOLDER}/{self.name}"

    def drawing_seed(self, corpus_seed: int) -> int:
        """A seed for the lips' deviations that no other clip has."""
        return zlib.crc32(f"{corpus_seed} {self.name}".encode())


def plan(settings: Settings) -> list[Clip]:
    """Every clip of the corpus, split by split.

    Validation and test sentences are distinct and held out of training; the speakers of a split take turns.
    """
    held_out = grammar.held_out()
    num_held_out = settings.num_val + 2 * settings.num_test
    if num_held_out > grammar.NUM_HELD_OUT:
        raise ValueError(
            f"found {num_held_out} validation and test clips (--num-val and twice --num-test); "
            f"expected at most {grammar.NUM_HELD_OUT}, which is what the grammar holds out of training"
        )
    seen, unseen = training_speakers(), unseen_speakers()
    tested = _tested_sentences(num_held_out, settings.seed)
    val, test_seen = settings.num_val, settings.num_val + settings.num_test
    return [
        *_clips("train", seen, grammar.sentences(settings.num_train, settings.seed, exclude=held_out)),
        *_clips("val", seen, tested[:val]),
        *_clips("test_seen", seen, tested[val:test_seen]),
        *_clips("test_unseen", unseen, tested[test_seen:]),
    ]


def babble_plan(settings: Settings) -> list[tuple[Speaker, list[str]]]:
    """The voices of the background noise and what they say: nothing that is tested on."""
    speakers = babble_speakers()
    num = BABBLE_SENTENCES
    # The training sentences come first in this draw; the babble says others.
    start = min(settings.num_train, grammar.NUM_SENTENCES - grammar.NUM_HELD_OUT - num * len(speakers))
    drawn = grammar.sentences(start + num * len(speakers), settings.seed, exclude=grammar.held_out())[start:]
    return [(speaker, drawn[num * i : num * (i + 1)]) for i, speaker in enumerate(speakers)]


def _tested_sentences(num: int, seed: int) -> list[str]:
    pool = sorted(grammar.held_out())
    random.Random(seed).shuffle(pool)
    return pool[:num]


def _clips(split: str, speakers: Sequence[Speaker], texts: Sequence[str]) -> list[Clip]:
    return [
        Clip(split=split, speaker=speakers[index % len(speakers)], index=index, text=text)
        for index, text in enumerate(texts)
    ]
