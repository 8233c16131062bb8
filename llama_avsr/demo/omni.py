"""One elastic model against three specialists: `llama-avsr demo omni --help`.

Trains one model for ASR, VSR and AVSR at two compression rates a medium, and the demo's three models for as
many updates, or takes these from a demo that has them; evaluates all, prints tables and draws WER against
tokens a second. It calls the commands as a user would.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from datamodules.batch import VIDEO_FPS
from llama_avsr import cli
from llama_avsr.demo.programs import SETTINGS_FILE, call, open_folder, side_by_side, train, train_seconds
from llama_avsr.evaluation.plots import wer_vs_tokens
from llama_avsr.evaluation.report import SUMMARY_FILE, Interval, interval_in_words, markdown_table
from llama_avsr.options import recipes
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

ELASTIC = "omni"
SPECIALISTS = ("avsr", "vsr", "asr")
"""The one that takes longest comes first."""
VOICES = ("seen", "unseen")
TEST_FILES = {voices: f"demo_test_{voices}_transcript_lengths_seg16s_LLM_lowercase" for voices in VOICES}
SNR_DB = 0
CONDITIONS = {"clean": "", f"{SNR_DB} dB": f"_{SNR_DB}dB"}
"""Name -> end of the folder of results."""
EPOCHS = 5
QUICK_EPOCHS = 2
VIEW = re.compile(r"(asr|vsr|avsr)((?:_\d+)+)")
PLOT = "wer_vs_tokens.png"
NOTE = "Synthetic voices and lips, those of speakers that were not trained on."


@group()
class DemoOptions:
    """Demo"""

    root_dir: Path = Path("demo_data")
    """Folder of the corpus, which is made there."""
    exp_dir: Path = Path("runs/demo_omni")
    """Folder of the runs."""
    specialists: Path = Path("runs/demo")
    """Folder of the runs of `llama-avsr demo`: those of them that were trained on the same corpus for as many
    epochs are not trained again."""
    fresh: bool = False
    """Train again what has been trained in --exp-dir already."""
    quick: bool = False
    """Make a tenth of the corpus and train for two epochs."""
    jobs: PositiveInt = min(2, os.cpu_count() or 1)
    """Number of models to train at a time."""
    seed: NonNegativeInt = 42
    """Seed of the trainings."""


@dataclass(frozen=True, kw_only=True)
class Options:
    demo: DemoOptions = field(default_factory=DemoOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="demo omni",
    title=(
        "Train one model for ASR, VSR and AVSR at two compression rates for each medium, and three "
        "specialists for as many updates; evaluate all, print tables and plot WER against tokens a second."
    ),
    schema=Schema(Options),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model at one task and rate."""

    model: str
    task: str
    rates: str
    tokens_per_second: float
    wer: Mapping[tuple[str, str], Interval]
    """(condition, voices) -> percent; lips are not tested in noise."""


def main(argv: Sequence[str], called: str | None = None) -> None:
    parsed = cli.parse(argv, PROGRAM, called)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options.demo)


def run(asked: DemoOptions) -> None:
    """Raises ValueError where --exp-dir holds the runs of a demo with other settings."""
    start = time.perf_counter()
    open_folder(asked.exp_dir, _settings(asked), asked.fresh, (ELASTIC, *SPECIALISTS))
    quick = ["--quick"] if asked.quick else []
    call(None, asked.exp_dir / "corpus.log", "prepare", "demo", "--root-dir", asked.root_dir, *quick)
    names = (ELASTIC, *SPECIALISTS)
    side_by_side(asked.jobs, [lambda name=name: _train_and_evaluate(asked, name) for name in names])
    rows = [row for name in (*reversed(SPECIALISTS), ELASTIC) for row in read_rows(asked.exp_dir, name)]
    print("\nWord error rate (%) with 95 % intervals, clean and in babble:\n")
    print(rate_table(rows))
    print(f"\n{cost_table({name: run_of(asked, name) for name in names})}\n")
    wer_vs_tokens(_panels(rows), asked.exp_dir / PLOT, NOTE)
    print(f"plot       {asked.exp_dir / PLOT}")
    print(f"wall time  {(time.perf_counter() - start) / 60:.1f} min")


def _settings(asked: DemoOptions) -> dict[str, object]:
    return {"corpus": str(asked.root_dir.resolve()), "quick": asked.quick, "seed": asked.seed}


def _epochs(asked: DemoOptions) -> int:
    return QUICK_EPOCHS if asked.quick else EPOCHS


def run_of(asked: DemoOptions, name: str) -> Path:
    """Folder of a model: that of an earlier demo, where it will do."""
    earlier = asked.specialists / name
    return earlier if name != ELASTIC and _will_do(asked, earlier) else asked.exp_dir / name


def _will_do(asked: DemoOptions, earlier: Path) -> bool:
    settings, config = earlier.parent / SETTINGS_FILE, earlier / "average" / "config.yaml"
    if not (settings.is_file() and config.is_file() and (config.parent / "model.safetensors").is_file()):
        return False
    found = json.loads(settings.read_text())
    epochs = yaml.safe_load(config.read_text())["options"]["training"]["max_epochs"]
    same = all(found.get(name) == value for name, value in _settings(asked).items())
    return same and epochs == _epochs(asked)


def _train_and_evaluate(asked: DemoOptions, name: str) -> None:
    log, folder = asked.exp_dir / f"{name}.log", run_of(asked, name)
    data: list[object] = ["--root-dir", asked.root_dir, "--num-workers", 0]
    data += ["--noise-file", asked.root_dir / "babble.wav"] if name != "vsr" else []
    if folder.parent == asked.exp_dir:
        recipe = [
            "--config",
            recipes.FOLDER / "demo" / f"{name}.yaml",
            "--seed",
            asked.seed,
            "--no-auto-test",
        ]
        train(asked.exp_dir, name, log, *recipe, "--max-epochs", _epochs(asked), *data)
    else:
        print(f"[{name}] {folder} has been trained for as many updates", flush=True)
    tests = ["--test-file", *(f"{file}.csv" for file in TEST_FILES.values())]
    tests += ["--decode-snr-target", "clean", SNR_DB] if name != "vsr" else []
    tests += ["--num-beams", 3] if asked.quick else []
    results = ("--output-dir", _results(asked.exp_dir, name))
    call(name, log, "eval", "--pretrained-model-path", folder, *data, *tests, *results)


def _results(exp_dir: Path, name: str) -> Path:
    return exp_dir / "results" / name


def read_rows(exp_dir: Path, name: str) -> list[Row]:
    """What the evaluation of a model has left, by task and rate."""
    folder, (first, *_) = _results(exp_dir, name), TEST_FILES.values()
    parts = sorted(path.name.removeprefix(first) for path in folder.glob(f"{first}*/"))
    # A model for one task at one rate names neither.
    views = [part for part in parts if VIEW.fullmatch(part.removeprefix("_"))] or [""]
    return [_row(folder, name, view.removeprefix("_")) for view in views]


def _row(folder: Path, name: str, view: str) -> Row:
    found = {
        (condition, voices): json.loads(path.read_text())
        for voices, file in TEST_FILES.items()
        for condition, end in CONDITIONS.items()
        if (path := folder / f"{file}{f'_{view}' if view else ''}{end}" / SUMMARY_FILE).is_file()
    }
    match = VIEW.fullmatch(view)
    clean = [summary for (condition, _), summary in found.items() if condition == "clean"]
    return Row(
        model=ELASTIC if match else "specialist",
        task=match[1] if match else name,
        rates=match[2].replace("_", " ").strip() if match else "",
        tokens_per_second=VIDEO_FPS * sum(s["tokens_per_frame"] for s in clean) / len(clean),
        wer={key: (summary["wer"], *summary["wer_interval_95"]) for key, summary in found.items()},
    )


def rate_table(rows: Sequence[Row]) -> str:
    """A line for each model at each task and rate, as Markdown."""
    columns = [(condition, voices) for condition in CONDITIONS for voices in VOICES]
    header = ("task", "rates", "model", "tokens/s", *(f"{condition}, {v}" for condition, v in columns))
    order = list(reversed(SPECIALISTS))
    cells = [
        (
            row.task,
            row.rates or "finest",
            row.model,
            f"{row.tokens_per_second:.1f}",
            *(interval_in_words(row.wer[column]) if column in row.wer else "-" for column in columns),
        )
        for row in sorted(rows, key=lambda row: order.index(row.task))
    ]
    return markdown_table(header, cells)


def cost_table(runs: Mapping[str, Path]) -> str:
    """What each model took, and the specialists together, as Markdown."""
    costs = {
        name: (num_trained(folder), updates(folder), train_seconds(folder)) for name, folder in runs.items()
    }
    apart = [costs[name] for name in SPECIALISTS]
    seconds = [cost[2] for cost in apart]
    whole = None if None in seconds else sum(seconds)
    costs = {**costs, "three specialists": (sum(c[0] for c in apart), sum(c[1] for c in apart), whole)}
    cells = [
        (name, f"{count:,}", str(steps), "-" if taken is None else f"{taken:.0f} s")
        for name, (count, steps, taken) in costs.items()
    ]
    return markdown_table(("model", "trained parameters", "updates", "training, wall"), cells)


def num_trained(folder: Path) -> int:
    """Parameters that a training has left in its checkpoint."""
    with safe_open(folder / "average" / "model.safetensors", "np") as file:
        names = [name for name in file.keys() if not name.startswith("added_tokens.")]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def updates(folder: Path) -> int:
    """Optimiser steps of a training."""
    steps = [re.search(r"step=(\d+)$", path.name) for path in (folder / "checkpoints").iterdir()]
    return max(int(step[1]) for step in steps if step)


def _panels(rows: Sequence[Row]) -> dict[str, dict[str, list[tuple[float, Interval]]]]:
    """Condition -> label -> (tokens a second, WER), of unseen voices."""
    panels: dict[str, dict[str, Any]] = {condition: {} for condition in CONDITIONS}
    for row in rows:
        for condition, lines in panels.items():
            rate = row.wer.get((condition, "unseen"), row.wer["clean", "unseen"])
            lines.setdefault(f"{row.task}, {row.model}", []).append((row.tokens_per_second, rate))
    return panels


if __name__ == "__main__":
    cli.run(main)
