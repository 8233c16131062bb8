"""Make the demo's pretrained ingredients: `python -m llama_avsr.demo_pretrain`.

Nothing of the demo's own data set is used: other sentences, another seed, and of its voices only those it
trains on. The log gives the errors on sentences that were not learnt from, by voices that were and by others.
"""

from __future__ import annotations

import json
import logging
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from transformers.utils import logging as transformers_logging

from llama_avsr import cli
from llama_avsr.demo.corpus.grammar import held_out, sentences
from llama_avsr.demo.corpus.plan import Settings, plan
from llama_avsr.demo.corpus.voice import Speaker, pretraining_speakers, unseen_speakers
from llama_avsr.demo.pretrain.audio import pretrain_whisper
from llama_avsr.demo.pretrain.bilingual import pretrain_bilingual
from llama_avsr.demo.pretrain.clips import Clip, make_clips
from llama_avsr.demo.pretrain.language import pretrain_llama
from llama_avsr.demo.pretrain.training import Schedule
from llama_avsr.demo.pretrain.video import pretrain_av_hubert
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

LOGGER = logging.getLogger(__name__)

WEIGHTS_DIR = Path(__file__).parents[1] / "weights"
PARTS = ("audio", "video", "llama")
"""Those of the repository."""
BILINGUAL = "bilingual"
NUM_HELD_OUT = 100


@group()
class PretrainOptions:
    """Pretraining"""

    out: Path = WEIGHTS_DIR
    """Folder of the three weight folders."""
    part: Literal["audio", "video", "llama", "bilingual", "all"] = "all"
    """Which ingredient to make. bilingual: the LLaMA with Spanish words, into --out itself; all: the
    other three."""
    seed: NonNegativeInt = 2027
    """Seed; must differ from the data set's."""
    clips: PositiveInt = 4000
    """Number of clips that either encoder learns from."""
    audio_steps: PositiveInt = 4000
    """Steps of 16 clips, 0.15 CPU seconds each."""
    video_steps: PositiveInt = 2000
    """Steps of 8 clips, 0.9 CPU seconds each."""
    llama_steps: PositiveInt = 2000
    """Steps of 32 sentences, 0.3 CPU seconds each."""
    bilingual_steps: PositiveInt = 300
    """Steps of 32 sentences, 0.2 CPU seconds each."""
    report_every: PositiveInt = 250
    """Steps between evaluations and snapshots."""
    threads: PositiveInt = 1
    """CPU threads of each part."""
    cache_dir: Path = Path(tempfile.gettempdir()) / "llama_avsr_demo_pretrain"
    """Where the clips are kept; with video they take 2 GB."""


@dataclass(frozen=True, kw_only=True)
class Options:
    pretraining: PretrainOptions = field(default_factory=PretrainOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


def _problems(options: Options) -> Iterator[str]:
    asked = options.pretraining
    if asked.seed == Settings().seed:
        yield f"--seed {asked.seed} is the demo corpus's own; take another"
    if asked.part == BILINGUAL and asked.out == WEIGHTS_DIR:
        yield "--part bilingual is no part of the repository; say with --out where it belongs"


PROGRAM = Program(
    name="demo_pretrain",
    title=(
        "Make the demo's pretrained ingredients. Nothing of the demo's own data set is used: other "
        "sentences, another seed, and of its voices only those it trains on. The log gives the errors on "
        "held-out sentences, for voices that were trained on and for others."
    ),
    schema=Schema(Options),
    check=_problems,
)


def split_sentences(num_train: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences to learn from and to measure on, disjoint, and neither in the demo's data set.

    No data set of the demo, whatever its seed, tests on a sentence outside `grammar.held_out()`.
    """
    theirs = held_out() | {clip.text for clip in plan(Settings())}
    measured = sentences(NUM_HELD_OUT, seed, exclude=theirs)
    return sentences(num_train, seed + 1, exclude=theirs.union(measured)), measured


def make_sets(asked: PretrainOptions, drawn: bool) -> tuple[list[Clip], dict[str, list[Clip]]]:
    """The clips to learn from, and those to measure on by "seen" and "unseen" voices."""
    train, measured = split_sentences(asked.clips, asked.seed)
    kind = "drawn" if drawn else "spoken"
    # Voices and lips drawn by other rules are other clips.
    rules = zlib.crc32(json.dumps(Settings().as_json(), sort_keys=True).encode())

    def made(name: str, texts: list[str], speakers: list[Speaker], varied: bool) -> list[Clip]:
        folder = asked.cache_dir / f"{kind}_{name}_{len(texts)}_{asked.seed}_{rules:08x}"
        return make_clips(texts, speakers, folder, seed=asked.seed, drawn=drawn, varied=varied)

    return made("train", train, pretraining_speakers(), True), {
        "seen": made("seen", measured, pretraining_speakers(), False),
        "unseen": made("unseen", measured, unseen_speakers(), False),
    }


def main(argv: Sequence[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options.pretraining)


def run(asked: PretrainOptions) -> None:
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(asked.threads)
    steps = {
        "audio": asked.audio_steps,
        "video": asked.video_steps,
        "llama": asked.llama_steps,
        BILINGUAL: asked.bilingual_steps,
    }
    for part in PARTS if asked.part == "all" else (asked.part,):
        LOGGER.info("%s", part)
        schedule = Schedule(steps=steps[part], report_every=asked.report_every)
        if part == "llama":
            train, measured = split_sentences(20_000, asked.seed)
            pretrain_llama(train, measured, schedule, asked.out / "llama", seed=asked.seed)
        elif part == BILINGUAL:
            train, measured = split_sentences(20_000, asked.seed)
            pretrain_bilingual(WEIGHTS_DIR / "llama", train, measured, schedule, asked.out, seed=asked.seed)
        elif part == "audio":
            pretrain_whisper(*make_sets(asked, False), schedule, asked.out / "whisper", seed=asked.seed)
        else:
            pretrain_av_hubert(*make_sets(asked, True), schedule, asked.out / "av_hubert", seed=asked.seed)


if __name__ == "__main__":
    cli.run(main)
