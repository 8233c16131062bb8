"""Recognition and translation by one model, as VSP-LLM: `llama-avsr demo translation --help`.

Makes the demo's corpus with word-by-word Spanish, a LLaMA that knows both languages and visual units; trains
one model that reads a token a unit and one that reads two frames stacked, evaluates both and prints a table.
It calls the commands as a user would.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr import cli
from llama_avsr.demo.programs import call, open_folder, side_by_side, train, train_seconds
from llama_avsr.evaluation.report import SUMMARY_FILE, Interval, interval_in_words, markdown_table
from llama_avsr.options import recipes
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

RECIPE = recipes.FOLDER / "demo" / "vsp.yaml"
AV_HUBERT = "demo:av_hubert"
SPLITS = ("train", "val", "test_seen", "test_unseen")
LAYER = 3
"""The last: what the model itself reads."""
NUM_CLUSTERS = 80
"""Half a token a frame, as two frames stacked have."""
VOICES = ("seen", "unseen")
MODELS: dict[str, tuple[str, tuple[object, ...]]] = {
    "units": ("units", ()),
    "stack2": ("stack 2", ("--compression-mode", "stack", "--downsample-ratio-video", 2)),
}
"""Name -> label in the table, flags besides the recipe's."""
LLAMA, UNITS = "llama", "visual_units"
QUICK = ("--max-epochs", 2, "--num-beams", 3)
QUICK_LLAMA = ("--bilingual-steps", 40)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model on one test set; scores in percent with 95 % intervals."""

    model: str
    voices: str
    tokens_per_frame: float
    wer: Interval
    bleu: Interval
    train_seconds: float | None
    decode_seconds: float


@group()
class DemoOptions:
    """Demo"""

    root_dir: Path = Path("demo_data")
    """Folder of the corpus, which is made there."""
    exp_dir: Path = Path("runs/demo_vsp")
    """Folder of the runs."""
    fresh: bool = False
    """Make and train again what has been made and trained already."""
    quick: bool = False
    """Make a tenth of the corpus and train for two epochs."""
    control: bool = False
    """Also decode every clip with the speech of another one."""
    seed: NonNegativeInt = 42
    """Seed of units and trainings."""
    jobs: PositiveInt = min(2, os.cpu_count() or 1)
    """Number of programs to run at a time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    demo: DemoOptions = field(default_factory=DemoOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="demo translation",
    title=(
        "Make the demo's corpus with word-by-word Spanish, a LLaMA that knows both languages, and visual "
        "units; train one model that reads one token per unit and one that reads two stacked frames, "
        "evaluate both and print a table. It calls the commands as a user would."
    ),
    schema=Schema(Options),
)


def main(argv: Sequence[str], called: str | None = None) -> None:
    parsed = cli.parse(argv, PROGRAM, called)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options.demo)


def run(asked: DemoOptions) -> None:
    """Raises ValueError where --exp-dir holds the runs of a demo with other settings."""
    start = time.perf_counter()
    settings = {"corpus": str(asked.root_dir.resolve()), "quick": asked.quick, "seed": asked.seed}
    open_folder(asked.exp_dir, settings, asked.fresh, (*MODELS, LLAMA, UNITS))
    quick = ["--quick"] if asked.quick else []
    log = asked.exp_dir / "corpus.log"
    call(None, log, "prepare", "demo", "--root-dir", asked.root_dir, *quick)
    side_by_side(asked.jobs, [lambda: make_llama(asked), lambda: make_units(asked)])
    side_by_side(asked.jobs, [lambda name=name: train_and_evaluate(asked, name) for name in MODELS])
    rows = [read_row(asked.exp_dir, model, voices) for model in MODELS for voices in VOICES]
    print("\nOne model, two tasks: WER of its English, BLEU of its Spanish (%), with 95 % intervals:\n")
    print(table(rows))
    if asked.control:
        wer, bleu = control(asked)
        print(f"\ncontrol    {wer:.1f} % WER, BLEU {bleu:.1f} with the speech of other clips (units, seen)")
    print(f"\nlogs       {asked.exp_dir}/<part>.log, {asked.exp_dir}/<model>/metrics.csv")
    print(f"models     {asked.exp_dir}/<model>/average/ and checkpoints/; what they wrote: results/")
    print(f"wall time  {(time.perf_counter() - start) / 60:.1f} min")


def make_llama(asked: DemoOptions) -> None:
    """The demo's LLaMA goes on learning, with Spanish words; once."""
    folder = asked.exp_dir / LLAMA
    if folder.is_dir():
        print(f"[{LLAMA}] {folder} already exists", flush=True)
        return
    steps = QUICK_LLAMA if asked.quick else ()
    flags = ("--part", "bilingual", "--report-every", 100, *steps, "--out", folder)
    call(LLAMA, asked.exp_dir / "llama.log", "llama_avsr.demo.pretrain", *flags)


def make_units(asked: DemoOptions) -> None:
    """The units of all clips, once, and the manifests that bring them."""
    folder = asked.exp_dir / UNITS
    log = asked.exp_dir / f"{UNITS}.log"
    if all((folder / f"{_label_name(split)}.cluster_counts").is_file() for split in SPLITS):
        print(f"[{UNITS}] {folder} already exists", flush=True)
    else:
        _find_units(asked, folder, log)
    data = ("--root-dir", asked.root_dir, "--units-dir", folder)
    call(UNITS, log, "prepare", "demo-translation", *data)


def _find_units(asked: DemoOptions, folder: Path, log: Path) -> None:
    features, centroids = folder / "features", folder / "centroids.npz"

    def units(step: str, *flags: object) -> None:
        call(UNITS, log, "prepare", "units", step, *flags)

    for split in SPLITS:
        data = ("--root-dir", asked.root_dir, "--label-file", f"{_label_name(split)}.csv")
        encoder = ("--encoder", AV_HUBERT, "--layer", LAYER, "--num-workers", 0)
        units("extract", *data, *encoder, "--out-dir", features)
    learnt_from = ("--features-dir", features, "--split", _label_name("train"), "--percent", "all")
    units("fit", *learnt_from, "--num-clusters", NUM_CLUSTERS, "--seed", asked.seed, "--out", centroids)
    for split in SPLITS:
        shards = ("--features-dir", features, "--split", _label_name(split))
        units("apply", *shards, "--centroids", centroids, "--out-dir", folder)


def train_and_evaluate(asked: DemoOptions, name: str) -> None:
    exp_dir, log = asked.exp_dir, asked.exp_dir / f"{name}.log"
    data = ("--root-dir", asked.root_dir, "--num-workers", 0)
    recipe = ("--config", RECIPE, "--llm-model", exp_dir / LLAMA, "--seed", asked.seed, "--no-auto-test")
    quick = QUICK if asked.quick else ()
    train(exp_dir, name, log, *recipe, *MODELS[name][1], *quick, *data)
    tests = ("--test-file", *(_test_file(voices) for voices in VOICES))
    call(name, log, "eval", "--pretrained-model-path", exp_dir / name, *data, *tests)


def control(asked: DemoOptions) -> tuple[float, float]:
    """WER and BLEU of the model of units when clips are decoded with the speech of others."""
    model, log = asked.exp_dir / "units", asked.exp_dir / "control.log"
    flags = ("--root-dir", asked.root_dir, "--num-workers", 0, "--test-file", _test_file("seen"))
    call("control", log, "eval", "--pretrained-model-path", model, *flags, "--shuffle-speech")
    found = _summary(model, _test_file("seen"), "_shuffled")
    return found["wer"], found["bleu"]


def read_row(exp_dir: Path, model: str, voices: str) -> Row:
    """What an evaluation has left."""
    found = _summary(exp_dir / model, _test_file(voices))
    return Row(
        model=MODELS[model][0],
        voices=voices,
        tokens_per_frame=found["tokens_per_frame"],
        wer=(found["wer"], *found["wer_interval_95"]),
        bleu=(found["bleu"], *found["bleu_interval_95"]),
        train_seconds=train_seconds(exp_dir / model),
        decode_seconds=found["decode_seconds"],
    )


def table(rows: Sequence[Row]) -> str:
    """A line per model and voices, as Markdown."""
    header = ("tokens", "voices", "tokens a frame", "WER en", "BLEU en-es", "training", "decoding")
    cells = [
        (
            row.model,
            row.voices,
            f"{row.tokens_per_frame:.3f}",
            interval_in_words(row.wer),
            interval_in_words(row.bleu),
            "-" if row.train_seconds is None else f"{row.train_seconds:.0f} s",
            f"{row.decode_seconds:.0f} s",
        )
        for row in rows
    ]
    return markdown_table(header, cells)


def _label_name(split: str) -> str:
    """Of the corpus's own .csv, without suffix."""
    return f"demo_{split}_transcript_lengths_seg16s_LLM_lowercase"


def _test_file(voices: str) -> str:
    return f"demo_test_{voices}_vsp.tsv"


def _summary(model: Path, test_file: str, more: str = "") -> dict:
    folder = model / "results" / "average" / f"{Path(test_file).stem}{more}"
    return json.loads((folder / SUMMARY_FILE).read_text())


if __name__ == "__main__":
    cli.run(main)
