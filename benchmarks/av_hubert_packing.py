"""AV-HuBERT large on clips of very different lengths: valid frames packed against everything padded.

    python -m benchmarks.av_hubert_packing [--lengths 150 60 25 15 10 10]

Each way runs in a process of its own, so that its peak memory is its own. Random weights.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Literal

import torch

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import PositiveInt

LARGE = {"num_layers": 24, "dim": 1024, "ffn_dim": 4096, "num_heads": 16}
WAYS = ("packed", "padded")


@group()
class BenchmarkOptions:
    """Benchmark"""

    lengths: tuple[PositiveInt, ...] = (150, 60, 25, 15, 10, 10)
    """Frames of each clip."""
    way: Literal["packed", "padded"] | None = None
    """Measure only this one, in this process."""


@dataclass(frozen=True, kw_only=True)
class Options:
    benchmark: BenchmarkOptions = field(default_factory=BenchmarkOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(name="benchmark", title=__doc__.partition("\n")[0], schema=Schema(Options))


def main(argv: list[str]) -> None:
    asked = cli.parse(argv, PROGRAM).options.benchmark
    if asked.way:
        print(measure(asked.way, list(asked.lengths)))
        return
    total, padded = sum(asked.lengths), len(asked.lengths) * max(asked.lengths)
    print(f"lengths {list(asked.lengths)}: {total} valid frames of {padded}")
    print("way     seconds  peak memory above the weights (MB)  checksum")
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.av_hubert_packing", "--way", way, "--lengths"]
        subprocess.run([*command, *map(str, asked.lengths)], check=True)


@torch.no_grad()
def measure(way: str, lengths: list[int]) -> str:
    """One line: how long the features of one batch take, and how much memory."""
    import av_hubert

    torch.manual_seed(0)
    model = av_hubert.AVHubert(av_hubert.AVHubertConfig(**LARGE)).eval()
    video = torch.randn(len(lengths), 1, max(lengths), 88, 88)
    mask = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    video = video.masked_fill(mask[:, None, :, None, None], 0)
    model.extract(video=video[:1, :, :8])  # the first call makes plans and buffers
    before, start = _peak_mb(), time.perf_counter()
    front_end = model.feature_extractor_video
    frames = front_end(video, mask if way == "packed" else None).masked_fill(mask[:, :, None], 0)
    features = model.encoder(model.fuse(frames, None).masked_fill(mask[:, :, None], 0), mask, None)
    seconds = time.perf_counter() - start
    checksum = float(features.masked_fill(mask[:, :, None], 0).double().abs().sum())
    return f"{way:7s} {seconds:7.2f}  {_peak_mb() - before:33.0f}   {checksum:.1f}"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    cli.run(main)
