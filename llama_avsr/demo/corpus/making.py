"""The demo's data set on disk, in the layout of auto-avsr.

    root/corpus.json                                    the settings; written last
    root/babble.wav                                     background noise
    root/demo/demo_video_seg16s/SPLIT/SPEAKER/N.mp4     mouth crops, and N.wav beside each
    root/demo/demo_text_seg16s/SPLIT/SPEAKER/N.txt      what was said
    root/demo/phones.csv                                utt,phone,start_s,end_s
    root/labels/demo_SPLIT_transcript_lengths_seg16s_LLM_lowercase.csv

The files depend on the settings alone, not on the number of workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.files import whole_or_nothing, write_whole
from datamodules.media.writing import (
    DRAWINGS,
    num_video_frames,
    padded_to_frames,
    write_video,
    write_waveform,
)
from llama_avsr.demo.corpus import espeak
from llama_avsr.demo.corpus.lips import draw
from llama_avsr.demo.corpus.phones import Phone
from llama_avsr.demo.corpus.plan import (
    DATASET,
    SPLITS,
    TEXT_FOLDER,
    Clip,
    Settings,
    babble_plan,
    plan,
)
from llama_avsr.demo.corpus.speakers import Speaker
from llama_avsr.demo.corpus.visemes import DIFFICULTY, Difficulty
from llama_avsr.demo.corpus.voice import synthesise

BABBLE_S = 60
_BABBLE_LEVEL = 0.1
"""Root mean square of the babble file; mixing scales it anyhow."""
CLIPS_PER_WORKER = 100
"""A process takes about as long to start as 50 clips to make."""
_ITEMS_PER_TASK = 4

_Map = Callable[[Callable, Iterable], Iterable]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Where a corpus lies and what is in it."""

    root_dir: Path
    num_clips: dict[str, int]
    """Per split."""
    was_there: bool
    """True where the corpus had been made before and nothing was written."""

    def label_path(self, split: str) -> Path:
        return label_path(self.root_dir, split)

    @property
    def babble_path(self) -> Path:
        return self.root_dir / "babble.wav"

    @property
    def phones_path(self) -> Path:
        return self.root_dir / DATASET / "phones.csv"


@dataclass(frozen=True)
class _Made:
    """What the label files need to know of a clip."""

    num_frames: int
    phones: list[Phone]


def label_path(root_dir: Path, split: str) -> Path:
    """The label file of "train", "val", "test_seen" or "test_unseen"."""
    return root_dir / "labels" / f"{DATASET}_{split}_transcript_lengths_seg16s_LLM_lowercase.csv"


def make_corpus(
    root_dir: Path,
    *,
    num_train: int = 1000,
    num_val: int = 60,
    num_test: int = 100,
    num_workers: int | None = None,
    seed: int = 0,
    difficulty: Difficulty = DIFFICULTY,
    show_progress: bool = True,
) -> Corpus:
    """Write the demo's data set under `root_dir`, or recognise it where it has been made already.

    `num_test` clips go into each of two test sets, one with voices of the training set and one with others.
    `num_workers` processes share the work (default: one for every core this process may use, with at least
    `CLIPS_PER_WORKER` for each; 1: none beside this one). A corpus that was begun with the same settings is
    completed; one made with other settings is replaced.

    Raises ValueError for impossible numbers, or where `root_dir` holds a `demo` folder that is not ours;
    ModuleNotFoundError where espeakng-loader is missing.
    """
    root_dir = Path(root_dir)
    settings = Settings(
        num_train=num_train, num_val=num_val, num_test=num_test, seed=seed, difficulty=difficulty
    )
    clips = plan(settings)
    corpus = Corpus(
        root_dir=root_dir,
        num_clips={split: sum(clip.split == split for clip in clips) for split in SPLITS},
        was_there=_recorded(_finished_path(root_dir)) == settings.as_json(),
    )
    if corpus.was_there:
        return corpus
    espeak.installation()  # before anything is written
    _begin(root_dir, settings)
    if num_workers is None:
        num_workers = min(_available_cores(), len(clips) // CLIPS_PER_WORKER)
    with _workers(num_workers) as run:
        monologues = run(_monologue, babble_plan(settings))
        made = list(
            tqdm(
                run(partial(_make_clip, root_dir=root_dir, settings=settings), clips),
                total=len(clips),
                desc="making clips",
                unit="clip",
                mininterval=0.1 if sys.stderr.isatty() else 10.0,
                disable=not show_progress,
            )
        )
        write_waveform(corpus.babble_path, _babble(monologues))
    _write_labels(root_dir, clips, made)
    _write_phones(corpus.phones_path, clips, made)
    _begun_path(root_dir).replace(_finished_path(root_dir))
    return corpus


def _finished_path(root_dir: Path) -> Path:
    return root_dir / "corpus.json"


def _begun_path(root_dir: Path) -> Path:
    return root_dir / "corpus.json.part"


def _recorded(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _begin(root_dir: Path, settings: Settings) -> None:
    """Leave nothing of a corpus with other settings, and note down which one is being made."""
    begun, finished, ours = _begun_path(root_dir), _finished_path(root_dir), root_dir / DATASET
    if _recorded(begun) == settings.as_json():
        return
    if ours.exists() and not begun.exists() and not finished.exists():
        raise ValueError(
            f"{ours}: found a folder that this command has not made (no {finished.name} beside it); "
            "choose another --root-dir, or remove it"
        )
    # Should the process end while it clears up, the folder is known to be ours and to hold nothing of worth.
    _note(begun, None)
    finished.unlink(missing_ok=True)
    if ours.exists():
        shutil.rmtree(ours)
    for split in SPLITS:
        label_path(root_dir, split).unlink(missing_ok=True)
    _note(begun, settings.as_json())


def _note(path: Path, settings: object) -> None:
    with whole_or_nothing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n")


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: what this process may use, not what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _workers(num_workers: int) -> Iterator[_Map]:
    """A `map` that keeps the order, over processes where there is more than one worker."""
    if num_workers <= 1:
        yield map
        return
    # A forked child would inherit torch's threads and locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda function, items: pool.map(function, items, chunksize=_ITEMS_PER_TASK)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_clip(clip: Clip, root_dir: Path, settings: Settings) -> _Made:
    """Write the files of a clip, unless an earlier run has; the video comes last."""
    speech = synthesise(clip.text, clip.speaker)
    num_frames = num_video_frames(len(speech.waveform))
    folder = root_dir / DATASET
    video_path = folder / clip.rel_path
    if not video_path.exists():
        text_path = folder / TEXT_FOLDER / f"{clip.name}.txt"
        write_whole(text_path, clip.text + "\n")
        write_waveform(video_path.with_suffix(".wav"), padded_to_frames(speech.waveform, num_frames))
        frames = draw(
            speech.phones, num_frames, clip.speaker, clip.drawing_seed(settings.seed), settings.difficulty
        )
        write_video(video_path, frames, DRAWINGS)
    return _Made(num_frames, speech.phones)


def _monologue(part: tuple[Speaker, list[str]]) -> np.ndarray:
    """One voice, sentence after sentence: [BABBLE_S * 16000] float32 of energy 1 a sample."""
    speaker, texts = part
    waveform = np.concatenate([synthesise(text, speaker).waveform for text in texts])
    # Short of sentences, it begins again.
    waveform = np.resize(waveform, BABBLE_S * SAMPLE_RATE_HZ)
    return waveform / np.sqrt((waveform**2).mean())


def _babble(monologues: Iterable[np.ndarray]) -> np.ndarray:
    mixed = np.mean(list(monologues), axis=0)
    return mixed * _BABBLE_LEVEL / np.sqrt((mixed**2).mean())


def _write_labels(root_dir: Path, clips: list[Clip], made: list[_Made]) -> None:
    """`dataset,rel_path,n_video_frames,n_words,text`; readers ignore the fourth column."""
    for split in SPLITS:
        with whole_or_nothing(label_path(root_dir, split)) as temporary, temporary.open("w") as file:
            for clip, result in zip(clips, made, strict=True):
                if clip.split == split:
                    columns = (DATASET, clip.rel_path, result.num_frames, len(clip.text.split()), clip.text)
                    print(*columns, sep=",", file=file)


def _write_phones(path: Path, clips: list[Clip], made: list[_Made]) -> None:
    with whole_or_nothing(path) as temporary, temporary.open("w") as file:
        print("utt,phone,start_s,end_s", file=file)
        for clip, result in zip(clips, made, strict=True):
            for phone in result.phones:
                print(clip.id, phone.label, f"{phone.start_s:.4f}", f"{phone.end_s:.4f}", sep=",", file=file)
