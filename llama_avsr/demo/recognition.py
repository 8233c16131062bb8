"""The whole job on a corpus made on the spot: `llama-avsr demo --help`.

Makes the corpus, trains ASR, VSR and AVSR with the recipes of `recipes/demo/` by calling the commands
as a user would, evaluates them clean and in babble, prints a table and draws it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr import cli
from llama_avsr.demo.programs import call, open_folder, train
from llama_avsr.demo.results import read_rates
from llama_avsr.evaluation.plots import wer_vs_snr_panels
from llama_avsr.evaluation.report import WerRow, wer_table
from llama_avsr.options import recipes
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

LABELS = {"avsr": "both (AVSR)", "vsr": "lips (VSR)", "asr": "sound (ASR)"}
"""The one that takes longest comes first, so that two cores end at about the same time."""
VOICES = ("seen", "unseen")
TEST_FILES = {voices: f"demo_test_{voices}_transcript_lengths_seg16s_LLM_lowercase.csv" for voices in VOICES}
SNRS_DB = (5, 0, -5)
PLOT = "wer_vs_snr.png"
NOTE = "Synthetic voices and lips; how hard the lips are to read was chosen, not measured."
QUICK = ("--max-epochs", "2", "--num-beams", "3")

Rates = dict[str, dict[str, dict[str | float, tuple[float, float, float]]]]
"""Voices -> model -> condition -> WER with its interval, percent."""


@group()
class DemoOptions:
    """Demo"""

    root_dir: Path = Path("demo_data")
    """Folder of the corpus, which is made there."""
    exp_dir: Path = Path("runs/demo")
    """Folder of the runs."""
    fresh: bool = False
    """Train again what has been trained already."""
    quick: bool = False
    """Make a tenth of the corpus and train for two epochs."""
    jobs: PositiveInt = min(2, os.cpu_count() or 1)
    """Number of models to train at a time."""
    max_epochs: PositiveInt | None = None
    """Epochs of every model. Default: as its recipe says."""
    control: bool = False
    """Also decode every clip with the speech of another one."""
    seeds: tuple[NonNegativeInt, ...] = (42,)
    """Seeds of the trainings. With several, mean and standard deviation are printed."""


@dataclass(frozen=True, kw_only=True)
class Options:
    demo: DemoOptions = field(default_factory=DemoOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="demo",
    title=(
        "Make a corpus, train ASR, VSR and AVSR with the recipes of recipes/demo/ by calling the commands "
        "as a user would, evaluate them clean and in babble, print a table and plot it."
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
    made = [model + _suffix(asked, seed) for seed in asked.seeds for model in LABELS]
    open_folder(asked.exp_dir, _settings(asked), asked.fresh, made)
    quick = ["--quick"] if asked.quick else []
    call(
        None,
        asked.exp_dir / "corpus.log",
        "prepare",
        "demo",
        "--root-dir",
        asked.root_dir,
        *quick,
    )
    runs = [run_once(asked, seed) for seed in asked.seeds]
    print()
    if len(runs) == 1:
        print("Word error rate (%) with 95 % intervals, clean and in babble:\n")
        print(wer_table(_rows(runs[0])))
        wer_vs_snr_panels(_panels(runs[0]), asked.exp_dir / PLOT, NOTE)
        print(f"\nplot       {asked.exp_dir / PLOT}")
    else:
        seeds = ", ".join(map(str, asked.seeds))
        print(f"Word error rate (%), mean and standard deviation over seeds {seeds}:\n")
        print(spread_table(runs))
        print()
    if asked.control:
        print(f"control    {_control(asked):.1f} % WER with every clip's speech replaced by another's (ASR)")
    print(f"logs       {asked.exp_dir}/<model>.log, {asked.exp_dir}/<model>/metrics.csv")
    print(f"models     {asked.exp_dir}/<model>/average/ and checkpoints/; what they wrote: results/")
    print(f"wall time  {(time.perf_counter() - start) / 60:.1f} min")


def run_once(asked: DemoOptions, seed: int) -> Rates:
    """Train and evaluate the three models, `--jobs` at a time; returns their word error rates."""
    suffix = _suffix(asked, seed)
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(lambda model: _train_and_evaluate(asked, model, model + suffix, seed), LABELS))
    return {
        voices: {
            label: read_rates(asked.exp_dir / (model + suffix), Path(file).stem)
            for model, label in LABELS.items()
        }
        for voices, file in TEST_FILES.items()
    }


def _settings(asked: DemoOptions) -> dict[str, object]:
    """What the models depend on, besides the code."""
    corpus = str(asked.root_dir.resolve())
    return {"corpus": corpus, "quick": asked.quick, "max_epochs": asked.max_epochs} | (
        {"seed": asked.seeds[0]} if len(asked.seeds) == 1 else {}
    )


def _suffix(asked: DemoOptions, seed: int) -> str:
    return "" if len(asked.seeds) == 1 else f"_seed{seed}"


def _train_and_evaluate(asked: DemoOptions, model: str, name: str, seed: int) -> None:
    folder, log = asked.exp_dir / name, asked.exp_dir / f"{name}.log"
    hears = model != "vsr"
    data = ["--root-dir", asked.root_dir, "--num-workers", 0]
    data += ["--noise-file", asked.root_dir / "babble.wav"] if hears else []
    recipe = ["--config", recipes.FOLDER / "demo" / f"{model}.yaml", "--seed", seed, "--no-auto-test"]
    recipe += ["--max-epochs", asked.max_epochs] if asked.max_epochs else []
    recipe += QUICK if asked.quick else ()
    train(asked.exp_dir, name, log, *recipe, *data)
    snrs = ["--decode-snr-target", "clean", *SNRS_DB] if hears else []
    tests = ["--test-file", *TEST_FILES.values(), *snrs]
    call(name, log, "eval", "--pretrained-model-path", folder, *data, *tests)


def _control(asked: DemoOptions) -> float:
    """WER of the ASR model when clips are decoded with the speech of others."""
    folder, file = asked.exp_dir / f"asr{_suffix(asked, asked.seeds[0])}", TEST_FILES["seen"]
    flags = ["--root-dir", asked.root_dir, "--test-file", file, "--shuffle-speech", "--num-workers", 0]
    log = asked.exp_dir / "control.log"
    call("control", log, "eval", "--pretrained-model-path", folder, *flags)
    return read_rates(folder, f"{Path(file).stem}_shuffled")["clean"][0]


def spread_table(runs: Sequence[Rates]) -> str:
    """Mean and standard deviation of the WER over runs with different seeds, as Markdown."""
    conditions: list[str | float] = ["clean", *SNRS_DB]
    names = [name if isinstance(name, str) else f"{name:g} dB" for name in conditions]
    lines = [f"| model | voices | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for label in reversed(LABELS.values()):
        for voices in VOICES:
            by_condition = [
                [run[voices][label][condition][0] for run in runs if condition in run[voices][label]]
                for condition in conditions
            ]
            cells = [
                f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" if v else "-" for v in by_condition
            ]
            lines.append(f"| {label} | {voices} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(rates: Rates) -> list[WerRow]:
    return [
        WerRow(model=label, voices=voices, wer=rates[voices][label])
        for label in reversed(LABELS.values())
        for voices in VOICES
    ]


def _panels(rates: Rates) -> Rates:
    """For the plot, lips are as good in any noise."""
    lips = LABELS["vsr"]
    panels: Rates = {}
    for voices, models in rates.items():
        panels[f"{voices} voices"] = {label: models[label] for label in reversed(LABELS.values())}
        panels[f"{voices} voices"][lips] = dict.fromkeys(("clean", *SNRS_DB), models[lips]["clean"])
    return panels


if __name__ == "__main__":
    cli.run(main)
