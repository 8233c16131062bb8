"""The whole job on a corpus made on the spot: `llama-avsr demo --help`.

Makes the corpus, trains ASR, VSR and AVSR with the recipes of `recipes/demo/` by calling the commands
as a user would, evaluates them clean and in babble, prints a table and draws it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llama_avsr.demo.programs import call, open_folder, train
from llama_avsr.evaluation.plots import wer_vs_snr_panels
from llama_avsr.evaluation.report import WerRow, wer_table
from llama_avsr.options import recipes

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


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    start = time.perf_counter()
    made = [model + _suffix(arguments, seed) for seed in arguments.seeds for model in LABELS]
    try:
        open_folder(arguments.exp_dir, _settings(arguments), arguments.fresh, made)
    except ValueError as error:
        sys.exit(f"demo: {error}")
    quick = ["--quick"] if arguments.quick else []
    call(
        None,
        arguments.exp_dir / "corpus.log",
        "prepare",
        "demo",
        "--root-dir",
        arguments.root_dir,
        *quick,
    )
    runs = [run_once(arguments, seed) for seed in arguments.seeds]
    print()
    if len(runs) == 1:
        print("Word error rate (%) with 95 % intervals, clean and in babble:\n")
        print(wer_table(_rows(runs[0])))
        wer_vs_snr_panels(_panels(runs[0]), arguments.exp_dir / PLOT, NOTE)
        print(f"\nplot       {arguments.exp_dir / PLOT}")
    else:
        print(f"Word error rate (%), mean and standard deviation over seeds {arguments.seeds}:\n")
        print(spread_table(runs))
        print()
    if arguments.control:
        print(
            f"control    {_control(arguments):.1f} % WER with every clip's speech replaced by another's (ASR)"
        )
    print(f"logs       {arguments.exp_dir}/<model>.log, {arguments.exp_dir}/<model>/metrics.csv")
    print(f"models     {arguments.exp_dir}/<model>/average/ and checkpoints/; what they wrote: results/")
    print(f"wall time  {(time.perf_counter() - start) / 60:.1f} min")


def run_once(arguments: argparse.Namespace, seed: int) -> Rates:
    """Train and evaluate the three models, `--jobs` at a time; returns their word error rates."""
    suffix = _suffix(arguments, seed)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda model: _train_and_evaluate(arguments, model, model + suffix, seed), LABELS))
    return {
        voices: {
            label: _read_rates(arguments.exp_dir / (model + suffix), Path(file).stem)
            for model, label in LABELS.items()
        }
        for voices, file in TEST_FILES.items()
    }


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    """What the models depend on, besides the code."""
    corpus = str(arguments.root_dir.resolve())
    return {"corpus": corpus, "quick": arguments.quick, "max_epochs": arguments.max_epochs} | (
        {"seed": arguments.seeds[0]} if len(arguments.seeds) == 1 else {}
    )


def _suffix(arguments: argparse.Namespace, seed: int) -> str:
    return "" if len(arguments.seeds) == 1 else f"_seed{seed}"


def _train_and_evaluate(arguments: argparse.Namespace, model: str, name: str, seed: int) -> None:
    folder, log = arguments.exp_dir / name, arguments.exp_dir / f"{name}.log"
    hears = model != "vsr"
    data = ["--root-dir", arguments.root_dir, "--num-workers", 0]
    data += ["--noise-file", arguments.root_dir / "babble.wav"] if hears else []
    recipe = ["--config", recipes.FOLDER / "demo" / f"{model}.yaml", "--seed", seed, "--no-auto-test"]
    recipe += ["--max-epochs", arguments.max_epochs] if arguments.max_epochs else []
    recipe += QUICK if arguments.quick else ()
    train(arguments.exp_dir, name, log, *recipe, *data)
    snrs = ["--decode-snr-target", "clean", *SNRS_DB] if hears else []
    tests = ["--test-file", *TEST_FILES.values(), *snrs]
    call(name, log, "eval", "--pretrained-model-path", folder, *data, *tests)


def _control(arguments: argparse.Namespace) -> float:
    """WER of the ASR model when clips are decoded with the speech of others."""
    folder, file = arguments.exp_dir / f"asr{_suffix(arguments, arguments.seeds[0])}", TEST_FILES["seen"]
    flags = ["--root-dir", arguments.root_dir, "--test-file", file, "--shuffle-speech", "--num-workers", 0]
    log = arguments.exp_dir / "control.log"
    call("control", log, "eval", "--pretrained-model-path", folder, *flags)
    return _read_rates(folder, f"{Path(file).stem}_shuffled")["clean"][0]


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llama-avsr demo", description=__doc__.split("\n\n")[1])
    parser.add_argument("--root-dir", type=Path, default=Path("demo_data"), help="the corpus (%(default)s)")
    parser.add_argument("--exp-dir", type=Path, default=Path("runs/demo"), help="the runs (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="train again what is trained already")
    parser.add_argument("--quick", action="store_true", help="a tenth of the corpus, two epochs")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="models at a time (%(default)s)"
    )
    parser.add_argument("--max-epochs", type=int, metavar="N", help="of every model (as its recipe says)")
    parser.add_argument("--control", action="store_true", help="also decode every clip with another's speech")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[42], help="several: prints mean and spread (%(default)s)"
    )
    return parser


def _read_rates(run: Path, name: str) -> dict[str | float, tuple[float, float, float]]:
    """Condition -> WER and interval, of the results of one label file."""
    rates = {}
    for file in (run / "results" / "average").glob(f"{name}*/summary.json"):
        if file.parent.name.endswith("_shuffled") != name.endswith("_shuffled"):
            continue
        summary = json.loads(file.read_text())
        condition = "clean" if summary["snr_db"] is None else summary["snr_db"]
        rates[condition] = (summary["wer"], *summary["wer_interval_95"])
    return rates


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
    main()
