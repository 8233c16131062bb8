"""GRID: 34 speakers, 1000 sentences each, of six words that the name of a file spells (`bbaf2n`).

A video is in a folder of its speaker's, at any depth: `s1/bbaf2n.mpg`, `s1/video/mpg_6000/bbaf2n.mpg`. Its
alignment lies beside it or in a tree of its own: `align/s1/bbaf2n.align`, `alignments/s1/bbaf2n.align`.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodules.files import write_whole
from preparation.datasets import Item
from preparation.datasets.clips import ClipSettings
from preparation.datasets.segments import LeftOut, WholeText, Word
from preparation.datasets.transcripts import TranscriptError, read_text
from preparation.faces.sources import files_below, videos_below

NAME = "grid"
SUBSETS = ("train", "val", "test")
Protocol = Literal["unseen-speakers", "overlapped", "random"]
UNSEEN_SPEAKERS = ("s1", "s2", "s20", "s22")
"""Tested by LipNet and those that followed; the others train."""
OVERLAPPED_TESTED = 255
"""Sentences of each speaker that LipNet tested on where all speakers train."""
UNITS_PER_SECOND = 25_000
"""Of an alignment's times."""
SILENCES = ("sil", "sp")
SPEAKER = re.compile(r"s\d{1,2}")
SENTENCE = re.compile(r"(?:.*_)?([bpls][bgrw][abiw][a-z][1-9z][anps])")
WORDS = (
    {"b": "bin", "p": "place", "l": "lay", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"},
    {"z": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five"}
    | {"6": "six", "7": "seven", "8": "eight", "9": "nine"},
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""By the letters of a file's name."""
CLASSES = ("command", "colour", "preposition", "letter", "digit", "adverb")
"""Of a sentence's words, in their order."""


@dataclass(frozen=True)
class Split:
    """Who and what is tested.

    protocol: `unseen-speakers` tests `UNSEEN_SPEAKERS`; `overlapped` tests 255 sentences of each speaker;
    `random` tests a share of the sentences, and trains nobody's recording of them.
    val_share: of the sentences that are not tested; of all, with `random`, as is test_share.
    """

    protocol: Protocol = "unseen-speakers"
    val_share: float = 0.05
    test_share: float = 0.15
    seed: int = 42

    def subsets(self, clips: Sequence[tuple[str, str]]) -> list[str]:
        """ "train", "val" or "test" for each (speaker, sentence); not dependent on their order.

        Raises:
            ValueError: nobody would be tested, or nobody trained.
        """
        tested = self._tested(clips)
        left = sorted({sentence for clip in clips if clip not in tested for sentence in clip[1:]})
        total = len({sentence for _, sentence in clips}) if self.protocol == "random" else len(left)
        validated = set(self._drawn(left, round(self.val_share * total)))
        found = ["test" if clip in tested else "val" if clip[1] in validated else "train" for clip in clips]
        for subset in ("train", "test"):
            if subset not in found:
                speakers = ", ".join(sorted({speaker for speaker, _ in clips}, key=_speaker_order))
                raise ValueError(
                    f"--protocol {self.protocol}: no clip is left for {subset}; found {len(clips)} clips of "
                    f"{speakers}; --protocol random divides them by sentence"
                )
        return found

    def _tested(self, clips: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        if self.protocol == "unseen-speakers":
            return {clip for clip in clips if clip[0] in UNSEEN_SPEAKERS}
        if self.protocol == "random":
            sentences = sorted({sentence for _, sentence in clips})
            drawn = set(self._drawn(sentences, round(self.test_share * len(sentences))))
            return {clip for clip in clips if clip[1] in drawn}
        by_speaker = defaultdict(list)
        for clip in sorted(clips):
            by_speaker[clip[0]].append(clip)
        return {
            clip
            for speaker, own in by_speaker.items()
            for clip in self._drawn(own, OVERLAPPED_TESTED, speaker)
        }

    def _drawn(self, choices: Sequence, number: int, salt: str = "") -> list:
        draw = random.Random(f"{self.seed}{salt}")
        return draw.sample(choices, min(number, len(choices)))


@dataclass(frozen=True)
class Alignments:
    """Where the words of videos are, and when they are said."""

    by_name: dict[tuple[str, str], Path]

    @classmethod
    def found_below(cls, folders: Sequence[Path]) -> Alignments:
        """By speaker and name of the file; speaker "" where no folder names one."""
        by_name = {}
        for folder in folders:
            for path in files_below(folder, (".align",)):
                by_name.setdefault((_speaker(path.relative_to(folder)) or "", path.stem), path)
        return cls(by_name)

    def of(self, video: Path, speaker: str) -> Path | None:
        beside = video.with_suffix(".align")
        if beside.is_file():
            return beside
        return self.by_name.get((speaker, video.stem)) or self.by_name.get(("", video.stem))


def items(
    source_dir: Path, split: Split | None = None, align_dir: Path | None = None
) -> tuple[list[Item], list[tuple[str, LeftOut]]]:
    """Videos in order of speaker and sentence; and those that are no GRID sentence (name, reason).

    A text is the alignment's words, or where there is none those that the file's name spells. Of a video in
    several qualities the first in order of path is taken, `mpg_6000` before `mpg_vcd`.

    Raises:
        ValueError: no such folder, no GRID video in it, or nobody for a subset.
    """
    source_dir = Path(source_dir)
    if not source_dir.is_dir():
        raise ValueError(f"{source_dir}: no such folder; --source-dir names the folder with GRID's speakers")
    alignments = Alignments.found_below([source_dir] if align_dir is None else [Path(align_dir)])
    videos: dict[tuple[str, str], Path] = {}
    left_out = []
    for video in videos_below(source_dir):
        sentence = SENTENCE.fullmatch(video.stem)
        speaker = _speaker(video.relative_to(source_dir)) or _speaker(Path(source_dir.name, video.name))
        speaker = speaker or video.parent.name
        if sentence is None:
            why = LeftOut("its name spells no sentence", f"{video}: expected a name such as bbaf2n")
            left_out.append((video.stem, why))
        else:
            videos.setdefault((speaker, video.stem), video)
    if not videos:
        raise ValueError(
            f"{source_dir}: expected GRID's videos, such as s1/bbaf2n.mpg, found {len(left_out)} videos of "
            "other names"
        )
    clips = sorted(videos, key=lambda clip: (_speaker_order(clip[0]), clip[1]))
    sentences = [(speaker, SENTENCE.fullmatch(stem)[1]) for speaker, stem in clips]
    found = []
    subsets = (split or Split()).subsets(sentences)
    for (speaker, stem), (_, sentence), subset in zip(clips, sentences, subsets, strict=True):
        video = videos[speaker, stem]
        aligned = alignments.of(video, speaker)
        found.append(
            Item(
                name=f"{speaker}/{stem}",
                subset=subset,
                video=video,
                transcript=aligned or WholeText(spelled(sentence).upper()),
                read=None if aligned is None else read_alignment,
            )
        )
    return found, left_out


def spelled(sentence: str) -> str:
    """The words of a file's name.

    >>> spelled("bbaf2n")
    'bin blue at f two now'
    """
    return " ".join(words[letter] for words, letter in zip(WORDS, sentence, strict=True))


def read_alignment(path: Path) -> WholeText:
    """The text of an .align, upper-case. Raises TranscriptError."""
    return WholeText(" ".join(word.text for word in read_words(path)).upper())


def read_words(path: Path) -> list[Word]:
    """The words of an .align (START END WORD a line, 25,000 units a second) without the silences.

    Raises:
        TranscriptError: not such a file, or without a word.
    """
    words = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            raise TranscriptError(f"{path}:{number}: expected START END WORD, found {line.strip()[:80]!r}")
        start, end = int(parts[0]), int(parts[1])
        if start > end:
            raise TranscriptError(
                f"{path}:{number}: expected a word that ends after its start, found {line!r}"
            )
        if parts[2].lower() not in SILENCES:
            words.append(Word(parts[2].lower(), start / UNITS_PER_SECOND, end / UNITS_PER_SECOND))
    if not words:
        raise TranscriptError(f"{path}: expected words, found none")
    return words


def write_word_times(items: Sequence[Item], settings: ClipSettings) -> Path | None:
    """Write labels/grid_words_segNs.csv (clip,word,start_s,end_s; `clip` is the id of an utterance) for clips
    that were made of videos with an alignment. Returns its path; None where there is none."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("clip", "word", "start_s", "end_s"))
    empty = buffer.tell()
    for item in items:
        if isinstance(item.transcript, Path) and settings.video_path(item.name).is_file():
            clip = f"{settings.dataset}/{settings.rel_path(item.name)}".removesuffix(".mp4")
            words = read_words(item.transcript)
            writer.writerows((clip, word.text, f"{word.start_s:g}", f"{word.end_s:g}") for word in words)
    if buffer.tell() == empty:
        return None
    path = settings.root_dir / "labels" / f"{settings.dataset}_words_seg{settings.seg_seconds}s.csv"
    write_whole(path, buffer.getvalue())
    return path


def _speaker(path: Path) -> str | None:
    """The last folder of a path that is named like a speaker."""
    return next((part for part in reversed(path.parts[:-1]) if SPEAKER.fullmatch(part)), None)


def _speaker_order(speaker: str) -> tuple[bool, int, str]:
    """s2 before s10."""
    numbered = SPEAKER.fullmatch(speaker)
    return (numbered is None, int(speaker[1:]) if numbered else 0, speaker)
