"""A small synthetic data set of spoken sentences and moving lips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.commands.prepare._shared import WorkerOptions
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

QUICK_SHARE = 10


@group()
class CorpusOptions:
    """Data set"""

    root_dir: Path | None = option(None, required=True)
    """Folder to write to."""
    num_train: PositiveInt = 1000
    """Number of training clips."""
    num_val: PositiveInt = 60
    """Number of validation clips."""
    num_test: PositiveInt = 100
    """Number of clips in each test set."""
    quick: bool = False
    """Make a tenth of each of these numbers."""
    seed: NonNegativeInt = 0
    """Seed of sentences and lip movements."""


@dataclass(frozen=True, kw_only=True)
class Options:
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    running: WorkerOptions = field(default_factory=WorkerOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare demo",
    title=(
        "Make the demo's data set: GRID sentences of six words, spoken by espeak-ng (pip install "
        "espeakng-loader) and drawn as moving lips, with sound, mouth crops, label files, phone times and "
        "babble noise. Test sentences are never trained on; one test set has the voices of the training "
        "set, the other has voices of its own. A data set that exists already is kept, one that was "
        "interrupted is completed."
    ),
    schema=Schema(Options),
)


def run(options: Options) -> None:
    from llama_avsr.demo.corpus.making import make_corpus

    asked = options.corpus
    share = QUICK_SHARE if asked.quick else 1
    corpus = make_corpus(
        asked.root_dir,
        num_train=-(-asked.num_train // share),
        num_val=-(-asked.num_val // share),
        num_test=-(-asked.num_test // share),
        num_workers=options.running.num_workers,
        seed=asked.seed,
    )
    state = "was there already" if corpus.was_there else "is ready"
    print(f"The demo's data set {state} in {corpus.root_dir}:")
    for split, num_clips in corpus.num_clips.items():
        print(f"  {num_clips:5d} clips  {corpus.label_path(split)}")
    print(f"  babble noise {corpus.babble_path}")
    print(f"  phone times  {corpus.phones_path}")
    print("Train and evaluate with:")
    print(f"  --root-dir {corpus.root_dir}")
    print(f"  --train-file {corpus.label_path('train').name}")
    print(f"  --val-file {corpus.label_path('val').name}")
    print(f"  --test-file {corpus.label_path('test_seen').name}")
    print(f"  --noise-file {corpus.babble_path}")
