"""Give a trained model word times and confidence, which `train_LLM.py --aligner-steps` does at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt


@group()
class AlignOptions:
    """Word times"""

    model: Path = option(Path(), positional=True, required=True)
    """A checkpoint folder, or the folder of a run. Its words.safetensors is written anew."""
    root_dir: Path | None = None
    """Root folder of the data. Default: as in training."""
    train_file: str | None = None
    """Label file to learn from, inside `labels/`. Default: as in training."""
    val_file: str | None = None
    """Label file to fit the confidence on, inside `labels/`. Default: as in training."""
    steps: PositiveInt = 300
    """Number of batches to train on."""
    noise_file: Path | None = None
    """Sound file with the noise of --snrs."""
    snrs: tuple[float | Literal["clean"], ...] = ("clean",)
    """Signal-to-noise ratios, in dB, that the validation set is decoded at for the confidence: those that
    the model is used at."""
    feature_cache: Path | None = None
    """Folder that keeps the frames of frozen encoders. Default: none."""
    num_workers: NonNegativeInt = 0
    """Processes that load data."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Device to compute on; auto uses the GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    align: AlignOptions = field(default_factory=AlignOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="align",
    title=(
        "Train a small aligner on the frames of a trained model's encoders, and fit how sure its words are: "
        "transcripts then have times and confidence for each word. Nothing of the model changes."
    ),
    examples="""\
  {program} runs/first
  {program} runs/first --root-dir DATA --noise-file babble.wav --snrs clean 5 0
""",
    words="MODEL [flags]",
    schema=Schema(Options),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options)


def run(options: Options) -> None:
    """Raises ValueError for what cannot be aligned."""
    from llama_avsr.checkpoints.source import Checkpoint, find_source  # heavy
    from llama_avsr.evaluation.loading import load_model
    from llama_avsr.model.devices import check_hardware, device_of
    from llama_avsr.training.aligning import add_words

    asked = options.align
    source = find_source(asked.model)
    if not isinstance(source, Checkpoint) or source.pinned:
        raise ValueError(f"{asked.model}: expected a checkpoint folder or a run's, which can be written to")
    given = {
        name: value
        for name in ("root_dir", "train_file", "val_file")
        if (value := getattr(asked, name)) is not None
    }
    if asked.noise_file is not None:
        given["noise_file"] = (str(asked.noise_file),)
    same = {name: getattr(asked, name) for name in ("feature_cache", "num_workers", "accelerator")}
    snrs = [None if snr == "clean" else float(snr) for snr in asked.snrs]
    trained = source.trained.updated({**same, **given})
    check_hardware(trained)
    model = load_model(trained, source).requires_grad_(False).to(device_of(trained))
    print(add_words(model, source.folder, trained, asked.steps, snrs))
