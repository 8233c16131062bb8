"""Options of the run as such: its name, its logs, what it writes; and decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llama_avsr.options.fields import PROGRAMS, TESTING, TRAINING, group, option
from llama_avsr.options.values import PositiveInt


@group(programs=TRAINING)
class RunOptions:
    """Run and logging"""

    exp_dir: Path = option(Path("runs"), private=True)
    """Folder of all runs."""
    exp_name: str | None = None
    """Name of the run and of its folder inside --exp-dir. Left out: the modality."""
    output_dir: Path | None = option(None, programs=PROGRAMS, private=True)
    """Folder for results. Left out, those of a test (hypotheses.csv, summary.json) go to a folder named
    after model, label file and SNR in `results` beside the model, and transcripts to the screen only."""
    logger: Literal["auto", "csv", "wandb", "none"] = option("auto", programs=TESTING)
    """Where curves go; auto is wandb with --project-wandb, else csv."""
    project_wandb: str | None = option(None, programs=TESTING, private=True)
    """W&B project. Without network or key the run is recorded offline."""
    log_every_n_steps: PositiveInt = 10
    """Optimiser steps between two points of the curves."""
    slurm_job_id: str | None = option(None, private=True)
    """SLURM job id to record with the run."""
    debug: bool = option(False, programs=(*PROGRAMS, "convert"))
    """Log more, and show the traceback of an error."""

    @property
    def logger_name(self) -> str:
        """`csv`, `wandb` or `none`."""
        if self.logger == "auto":
            return "wandb" if self.project_wandb else "csv"
        return self.logger


@group(programs=TESTING)
class DecodingOptions:
    """Decoding"""

    max_dec_tokens: PositiveInt = option(32, programs=PROGRAMS)
    """Longest transcript, in tokens."""
    num_beams: PositiveInt = option(15, programs=PROGRAMS)
    """Width of the beam search; 1 is greedy."""
    length_penalty: float = option(1.0, programs=PROGRAMS)
    """Exponent of the length by which a hypothesis' log-probability is divided; 0 does not divide."""
    nbest: PositiveInt = option(1, programs=PROGRAMS)
    """Hypotheses written for each clip, best first; at most --num-beams."""
    shuffle_speech: bool = False
    """Control: decode every clip with the speech of its neighbour in the batch. What is still right
    then was guessed without listening."""
    test_max_frames: PositiveInt | None = option(None, programs=PROGRAMS)
    """Largest batch in validation, test and transcription, in 25 Hz frames, padding included. Left out: as
    in training (--max-frames-...)."""
    test_max_clips: PositiveInt | None = None
    """Most clips in a batch of validation and test; 1 decodes clip by clip. Left out: as many as the frames
    allow."""
