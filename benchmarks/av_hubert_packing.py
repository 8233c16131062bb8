"""AV-HuBERT large on clips of very different lengths: valid frames packed against everything padded.

    python -m benchmarks.av_hubert_packing [--lengths 150 60 25 15 10 10]

Each way runs in a process of its own, so that its peak memory is its own. Random weights.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

LARGE = {"num_layers": 24, "dim": 1024, "ffn_dim": 4096, "num_heads": 16}
WAYS = ("packed", "padded")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.av_hubert_packing", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[150, 60, 25, 15, 10, 10], help="frames")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(measure(arguments.way, arguments.lengths))
        return
    total, padded = sum(arguments.lengths), len(arguments.lengths) * max(arguments.lengths)
    print(f"lengths {arguments.lengths}: {total} valid frames of {padded}")
    print("way     seconds  peak memory above the weights (MB)  checksum")
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.av_hubert_packing", "--way", way, "--lengths"]
        subprocess.run([*command, *map(str, arguments.lengths)], check=True)


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
    main()
