"""Options of the run as such: its name, its logs, what it writes; and decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llama_avsr.options.fields import PROGRAMS, TESTING, TRAINING, group, option
from llama_avsr.options.values import NonNegativeFloat, PositiveInt


@group(programs=TRAINING)
class RunOptions:
    """Run and logging"""

    exp_dir: Path = option(Path("runs"), private=True)
    """Folder for all runs."""
    exp_name: str | None = None
    """Name of the run and of its folder in --exp-dir. Default: the modality."""
    output_dir: Path | None = option(None, programs=PROGRAMS, private=True)
    """Folder for results. Default: test results (hypotheses.csv, summary.json) go to `results` beside the
    model, in a folder named after model, label file and SNR; transcripts are only printed."""
    logger: tuple[Literal["auto", "csv", "wandb", "tensorboard", "mlflow", "none"], ...] = option(
        ("auto",), programs=TESTING
    )
    """Where to log curves, sample predictions and grids; one or more. auto: csv and, with --project-wandb,
    wandb. csv is always written, but for none. mlflow: to the server that MLFLOW_TRACKING_URI names, or into
    the run's folder."""
    project_wandb: str | None = option(None, programs=TESTING, private=True)
    """Weights & Biases project to log to. Without network or API key the run is recorded offline."""
    log_every_n_steps: PositiveInt = 10
    """Log every so many optimiser steps."""
    price_per_hour: NonNegativeFloat | None = option(None, private=True)
    """What an hour of one GPU costs (of one machine, where there is none), in any currency: report.md, with
    which a training ends, then says what the run cost."""
    slurm_job_id: str | None = option(None, private=True)
    """SLURM job id to record with the run."""
    debug: bool = option(False, programs=(*PROGRAMS, "convert"))
    """Verbose logging, and tracebacks of errors."""

    @property
    def loggers(self) -> tuple[str, ...]:
        """Of csv, wandb, tensorboard, mlflow; nothing for none."""
        if "none" in self.logger:
            return ()
        named = [name for name in self.logger if name != "auto"]
        automatic = ["wandb"] if "auto" in self.logger and self.project_wandb else []
        return tuple(dict.fromkeys(("csv", *named, *automatic)))

    @property
    def wandb_project(self) -> str | None:
        """None where nothing is logged there."""
        return self.project_wandb if "wandb" in self.loggers else None


@group(programs=TESTING)
class DecodingOptions:
    """Decoding"""

    max_dec_tokens: PositiveInt = option(32, programs=PROGRAMS)
    """Maximum length of a transcript, in tokens."""
    num_beams: PositiveInt = option(15, programs=PROGRAMS)
    """Beam width; 1 is greedy search."""
    length_penalty: float = option(1.0, programs=PROGRAMS)
    """A hypothesis' log-probability is divided by its length to this power; 0 turns that off."""
    nbest: PositiveInt = option(1, programs=PROGRAMS)
    """Number of hypotheses to write per clip, best first; at most --num-beams."""
    clips_at_once: PositiveInt | None = option(None, programs=PROGRAMS)
    """Number of clips of a batch that the LLM writes at a time; as one is finished, the next takes its place.
    Keeps the LLM busy on batches that its beams would not fit at once. Default: all."""
    shuffle_speech: bool = False
    """Control experiment: decode every clip with the speech of another one, drawn at random. Words that are
    still right were guessed without the speech."""
    test_max_frames: PositiveInt | None = option(None, programs=PROGRAMS)
    """Maximum batch size in validation, test and transcription, in 25 Hz frames including padding. Default:
    as in training (--max-frames-...)."""
    test_max_clips: PositiveInt | None = None
    """Maximum number of clips in a batch of validation and test; 1 decodes clip by clip. Default: limited by
    the frames alone."""
