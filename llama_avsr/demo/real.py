"""The whole job on real people: `llama-avsr demo real --help`.

Prepares GRID, teaches an encoder of lips, trains ASR, VSR and AVSR on pretrained models with the recipes of
`recipes/grid/`, evaluates them clean and in babble of GRID's voices, and writes a report with tables and
pictures. It calls the commands as a user would; what is done already is not done again.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datamodules.files import write_whole
from llama_avsr import cli
from llama_avsr.demo.mouth_strip import draw_strip
from llama_avsr.demo.programs import call, open_folder, side_by_side, train, train_seconds
from llama_avsr.demo.results import class_table, errors_by_class, read_pairs, read_rates
from llama_avsr.evaluation.plots import loss_curve, wer_vs_snr
from llama_avsr.evaluation.report import WerRow, versions, wer_table
from llama_avsr.options import recipes
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.pretraining import NAME as ENCODER
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt
from preparation.datasets.grid import CLASSES

RECIPES = recipes.FOLDER / "grid"
LABELS = {"asr": "sound (ASR)", "vsr": "lips (VSR)", "avsr": "both (AVSR)"}
LIPS = "lips"
SNRS_DB = (5, 0, -5)
TEST = "grid_test_transcript_lengths_seg16s_LLM_lowercase"
PLOT, STRIP, CURVES, REPORT = "wer_vs_snr.png", "mouths.png", "lips_curve.png", "report.md"
BABBLE = {"train": "babble.wav", "val": "babble_test.wav"}
"""By the label file whose clips talk in it."""
VOICES = {"random": "seen", "overlapped": "seen", "unseen-speakers": "unseen"}
QUICK_CLIPS = 12
QUICK = ("--ctc-epochs", 1, "--max-epochs", 2, "--num-beams", 2, "--num-average-epochs", 1)
QUICK_LIPS = ("--max-epochs", 1, "--dim", 32, "--num-layers", 1, "--resnet-planes", 8, 8, 8, 16)


@group()
class DemoOptions:
    """Real speech"""

    grid_dir: Path | None = option(None, required=True)
    """GRID as unpacked, a folder for each speaker (docs/grid.md says where it is had)."""
    root_dir: Path = Path("real_data")
    """Folder of the prepared data set, which is made there."""
    exp_dir: Path = Path("runs/real")
    """Folder of the runs and of the report."""
    protocol: Literal["random", "overlapped", "unseen-speakers"] = "random"
    """Who and what is tested: see `prepare_data.py grid --help`. random also suits a single speaker."""
    audio_encoder_name: str | None = None
    """Whisper: hub name or local folder. Default: the recipes', openai/whisper-base."""
    llm_model: str | None = None
    """Language model: hub name or local folder. Default: the recipes', HuggingFaceTB/SmolLM2-135M."""
    avhubert: Path | None = None
    """Published AV-HuBERT to read lips with. Default: an encoder that is taught with GRID's own lips."""
    control: bool = True
    """Also decode every clip with the speech of another one."""
    fresh: bool = False
    """Train again what has been trained already."""
    quick: bool = False
    """Prepare a dozen clips and train for one epoch."""
    jobs: PositiveInt = min(2, os.cpu_count() or 1)
    """Number of trainings at a time."""
    seed: NonNegativeInt = 42
    """Seed of the trainings."""


@dataclass(frozen=True, kw_only=True)
class Options:
    demo: DemoOptions = field(default_factory=DemoOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="demo real",
    title=(
        "Prepare GRID, a free corpus of real people; teach an encoder of lips; train ASR, VSR and AVSR on "
        "Whisper and a small language model with the recipes of recipes/grid/; evaluate them clean and in "
        "babble of GRID's voices; write a report with tables and pictures. What is done is not done again."
    ),
    schema=Schema(Options),
)


def main(argv: Sequence[str], called: str | None = None) -> None:
    parsed = cli.parse(argv, PROGRAM, called)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options.demo)


def run(asked: DemoOptions) -> None:
    """Raises ValueError where --exp-dir holds the runs of other settings."""
    start = time.perf_counter()
    open_folder(asked.exp_dir, _settings(asked), asked.fresh, (LIPS, *LABELS))
    prepare(asked)
    needs_lips = asked.avhubert is None
    first = [lambda: teach_lips(asked)] if needs_lips else []
    # The encoder of lips takes longest; whoever listens alone need not wait for it.
    side_by_side(asked.jobs, [*first, lambda: train_and_evaluate(asked, "asr")])
    side_by_side(asked.jobs, [lambda m=model: train_and_evaluate(asked, m) for model in ("avsr", "vsr")])
    report = write_report(asked, time.perf_counter() - start)
    print(f"\n{report}\nreport     {asked.exp_dir / REPORT}")


def prepare(asked: DemoOptions) -> None:
    """Mouth clips, sound, labels; and babble for training and for tests, of different clips."""
    quick = ("--limit", QUICK_CLIPS, "--val-share", 0.2) if asked.quick else ()
    log = asked.exp_dir / "prepare.log"
    root = ("--root-dir", asked.root_dir)
    split = ("--protocol", asked.protocol, "--split-seed", asked.seed)
    call(None, log, "prepare", "grid", "--source-dir", asked.grid_dir, *root, *split, *quick)
    for split_name, file in BABBLE.items():
        labels = f"grid_{split_name}_transcript_lengths_seg16s_LLM_lowercase.csv"
        call(None, log, "prepare", "babble", labels, *root, "--out", asked.root_dir / file)


def teach_lips(asked: DemoOptions) -> None:
    flags = ("--config", RECIPES / "lips.yaml", "--root-dir", asked.root_dir, "--num-workers", 0)
    quick = QUICK_LIPS if asked.quick else ()
    train(
        asked.exp_dir,
        LIPS,
        asked.exp_dir / f"{LIPS}.log",
        *flags,
        "--seed",
        asked.seed,
        *quick,
        program="pretrain-video",
        result=f"{ENCODER}/model.safetensors",
    )


def train_and_evaluate(asked: DemoOptions, model: str) -> None:
    folder, log = asked.exp_dir / model, asked.exp_dir / f"{model}.log"
    hears, sees = model != "vsr", model != "asr"
    data = ("--root-dir", asked.root_dir, "--num-workers", 0, "--feature-cache", asked.root_dir / "features")
    parts: list[object] = []
    if asked.llm_model is not None:
        parts += ["--llm-model", asked.llm_model]
    if hears and asked.audio_encoder_name is not None:
        parts += ["--audio-encoder-name", asked.audio_encoder_name]
    if sees:
        lips = asked.avhubert or asked.exp_dir / LIPS / ENCODER
        parts += ["--pretrain-avhubert-enc-video-path", lips]
    noise = ("--noise-file", asked.root_dir / BABBLE["train"]) if hears else ()
    recipe = ("--config", RECIPES / f"{model}.yaml", "--seed", asked.seed, "--no-auto-test")
    train(asked.exp_dir, model, log, *recipe, *parts, *data, *noise, *(QUICK if asked.quick else ()))
    test = ("--pretrained-model-path", folder, *data, "--test-file", f"{TEST}.csv")
    babble = ("--noise-file", asked.root_dir / BABBLE["val"], "--decode-snr-target", "clean", *SNRS_DB)
    call(model, log, "eval", *test, *(babble if hears else ()))
    if asked.control:
        call(model, asked.exp_dir / "control.log", "eval", *test, "--shuffle-speech")


def write_report(asked: DemoOptions, seconds: float) -> str:
    """Write report.md and its pictures; returns what it says."""
    rates = {model: read_rates(asked.exp_dir / model, TEST) for model in LABELS}
    curves = {LABELS[model]: found for model, found in rates.items()}
    # Lips are as good in any noise.
    curves[LABELS["vsr"]] = dict.fromkeys(("clean", *SNRS_DB), rates["vsr"]["clean"])
    wer_vs_snr(curves, asked.exp_dir / PLOT, "GRID: real people, babble of their voices.")
    pairs = read_pairs(asked.exp_dir / "vsr", TEST)
    draw_strip(asked.root_dir, TEST, asked.exp_dir / STRIP, read_pairs(asked.exp_dir / "avsr", TEST))
    if asked.avhubert is None:
        loss_curve(asked.exp_dir / LIPS / "metrics.csv", asked.exp_dir / CURVES)
    voices = VOICES[asked.protocol]
    rows = [WerRow(model=LABELS[model], voices=voices, wer=found) for model, found in rates.items()]
    lines = [
        "# GRID: real people",
        "",
        f"Word error rate (%) with 95 % intervals, clean and in babble, on {len(pairs)} sentences "
        f"(--protocol {asked.protocol}, seed {asked.seed}).",
        "",
        wer_table(rows),
        "",
        f"![WER against noise]({PLOT})",
        "",
        "Lips alone, by class of word:",
        "",
        class_table(errors_by_class(pairs, CLASSES)),
        "",
        f"![mouths and words]({STRIP})",
        "",
        *_controls(asked),
        *_times(asked, seconds),
    ]
    text = "\n".join(lines) + "\n"
    write_whole(asked.exp_dir / REPORT, text)
    return text


def _controls(asked: DemoOptions) -> list[str]:
    if not asked.control:
        return []
    found = {model: read_rates(asked.exp_dir / model, f"{TEST}_shuffled")["clean"][0] for model in LABELS}
    said = ", ".join(f"{LABELS[model]} {wer:.1f} %" for model, wer in found.items())
    return [f"Control, every clip decoded with the speech of another: {said}.", ""]


def _times(asked: DemoOptions, seconds: float) -> list[str]:
    trained = {name: train_seconds(asked.exp_dir / name) for name in (LIPS, *LABELS)}
    said = ", ".join(f"{name} {took / 60:.0f} min" for name, took in trained.items() if took is not None)
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [
        f"Training: {said} ({asked.jobs} at a time, one thread each); this run {seconds / 60:.0f} min.",
        f"Machine: {os.cpu_count()} cores, {_processor()}; {packages}.",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _settings(asked: DemoOptions) -> dict[str, object]:
    """What the models depend on, besides the code."""
    return {
        "grid": str(asked.grid_dir.resolve()),
        "corpus": str(asked.root_dir.resolve()),
        "protocol": asked.protocol,
        "encoder": asked.audio_encoder_name,
        "llm": asked.llm_model,
        "avhubert": None if asked.avhubert is None else str(asked.avhubert),
        "quick": asked.quick,
        "seed": asked.seed,
    }


if __name__ == "__main__":
    cli.run(main)
