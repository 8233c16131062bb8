"""Make the demo's pretrained ingredients: `python -m llama_avsr.demo_pretrain`.

Nothing of the demo's own data set is used: other sentences, another seed, and of its voices only those it
trains on. The log gives the errors on sentences that were not learnt from, by voices that were and by others.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from llama_avsr.demo.corpus.grammar import held_out, sentences
from llama_avsr.demo.corpus.plan import Settings, plan
from llama_avsr.demo.corpus.voice import Speaker, pretraining_speakers, unseen_speakers
from llama_avsr.demo.pretrain.audio import pretrain_whisper
from llama_avsr.demo.pretrain.bilingual import pretrain_bilingual
from llama_avsr.demo.pretrain.clips import Clip, make_clips
from llama_avsr.demo.pretrain.language import pretrain_llama
from llama_avsr.demo.pretrain.training import Schedule
from llama_avsr.demo.pretrain.video import pretrain_av_hubert

WEIGHTS_DIR = Path(__file__).parents[1] / "weights"
PARTS = ("audio", "video", "llama")
"""Those of the repository."""
BILINGUAL = "bilingual"
NUM_HELD_OUT = 100


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m llama_avsr.demo_pretrain",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS_DIR, help="folder of the three weight folders")
    parser.add_argument(
        "--part",
        choices=[*PARTS, BILINGUAL, "all"],
        default="all",
        help="which ingredient to make; bilingual: the LLaMA with Spanish words, into --out itself; "
        "all: the other three",
    )
    parser.add_argument("--seed", type=int, default=2027, help="another one than the data set's")
    parser.add_argument("--clips", type=int, default=4000, help="clips that either encoder learns from")
    parser.add_argument(
        "--audio-steps", type=int, default=4000, help="steps of 16 clips; 0.15 CPU seconds each"
    )
    parser.add_argument(
        "--video-steps", type=int, default=2000, help="steps of 8 clips; 0.9 CPU seconds each"
    )
    parser.add_argument("--llama-steps", type=int, default=2000, help="steps of 32 sentences; 0.3 CPU s each")
    parser.add_argument(
        "--bilingual-steps", type=int, default=300, help="steps of 32 sentences; 0.2 CPU seconds each"
    )
    parser.add_argument(
        "--report-every", type=int, default=250, help="steps between evaluations and snapshots"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each part")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "llama_avsr_demo_pretrain",
        help="where the clips are kept; with video they take 2 GB",
    )
    args = parser.parse_args(argv)
    if args.seed == Settings().seed:
        parser.error(f"--seed {args.seed} is the demo corpus's own; take another")
    if args.part == BILINGUAL and args.out == WEIGHTS_DIR:
        parser.error("--part bilingual is no part of the repository; say with --out where it belongs")
    return args


def split_sentences(num_train: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences to learn from and to measure on, disjoint, and neither in the demo's data set.

    No data set of the demo, whatever its seed, tests on a sentence outside `grammar.held_out()`.
    """
    theirs = held_out() | {clip.text for clip in plan(Settings())}
    measured = sentences(NUM_HELD_OUT, seed, exclude=theirs)
    return sentences(num_train, seed + 1, exclude=theirs.union(measured)), measured


def make_sets(args: argparse.Namespace, drawn: bool) -> tuple[list[Clip], dict[str, list[Clip]]]:
    """The clips to learn from, and those to measure on by "seen" and "unseen" voices."""
    train, measured = split_sentences(args.clips, args.seed)
    kind = "drawn" if drawn else "spoken"
    # Voices and lips drawn by other rules are other clips.
    rules = zlib.crc32(json.dumps(Settings().as_json(), sort_keys=True).encode())

    def made(name: str, texts: list[str], speakers: list[Speaker], varied: bool) -> list[Clip]:
        folder = args.cache_dir / f"{kind}_{name}_{len(texts)}_{args.seed}_{rules:08x}"
        return make_clips(texts, speakers, folder, seed=args.seed, drawn=drawn, varied=varied)

    return made("train", train, pretraining_speakers(), True), {
        "seen": made("seen", measured, pretraining_speakers(), False),
        "unseen": made("unseen", measured, unseen_speakers(), False),
    }


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    for part in PARTS if args.part == "all" else (args.part,):
        logging.info("%s", part)
        steps = getattr(args, f"{part}_steps")
        schedule = Schedule(steps=steps, report_every=args.report_every)
        if part == "llama":
            train, measured = split_sentences(20_000, args.seed)
            pretrain_llama(train, measured, schedule, args.out / "llama", seed=args.seed)
        elif part == BILINGUAL:
            train, measured = split_sentences(20_000, args.seed)
            pretrain_bilingual(WEIGHTS_DIR / "llama", train, measured, schedule, args.out, seed=args.seed)
        elif part == "audio":
            pretrain_whisper(*make_sets(args, False), schedule, args.out / "whisper", seed=args.seed)
        else:
            pretrain_av_hubert(*make_sets(args, True), schedule, args.out / "av_hubert", seed=args.seed)


if __name__ == "__main__":
    main()
