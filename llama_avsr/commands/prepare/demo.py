"""A small synthetic data set of spoken sentences and moving lips."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "a small synthetic data set of spoken sentences and moving lips"
DESCRIPTION = (
    "Make the demo's data set: GRID sentences of six words, spoken by espeak-ng "
    "(pip install espeakng-loader) and drawn as moving lips, with sound, mouth crops, label files, "
    "phone times and babble noise. Test sentences are never trained on; one test set has the voices "
    "of the training set, the other has voices of its own. A data set that has been made already is "
    "recognised, one that was interrupted is completed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root-dir", type=Path, required=True, help="folder to write into", metavar="DIR")
    parser.add_argument(
        "--num-train", type=int, default=1000, help="training clips (%(default)s)", metavar="N"
    )
    parser.add_argument("--num-val", type=int, default=60, help="validation clips (%(default)s)", metavar="N")
    parser.add_argument(
        "--num-test", type=int, default=100, help="clips of each test set (%(default)s)", metavar="N"
    )
    parser.add_argument("--quick", action="store_true", help="make a tenth of each of these numbers")
    parser.add_argument(
        "--seed", type=int, default=0, help="chooses sentences and lip movements (%(default)s)", metavar="N"
    )
    parser.add_argument("--num-workers", type=int, help="processes (one for every core)", metavar="N")


def run(arguments: argparse.Namespace) -> None:
    from llama_avsr.demo.corpus.making import make_corpus

    share = 10 if arguments.quick else 1
    corpus = make_corpus(
        arguments.root_dir,
        num_train=-(-arguments.num_train // share),
        num_val=-(-arguments.num_val // share),
        num_test=-(-arguments.num_test // share),
        num_workers=arguments.num_workers,
        seed=arguments.seed,
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
