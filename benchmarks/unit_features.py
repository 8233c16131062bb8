"""Features for visual units: clips one by one against batches, and on-the-fly units beside the features.

    python -m benchmarks.unit_features [--num-clips 16] [--max-frames 1500] [--layer 12]

AV-HuBERT large with random weights, on the GPU where there is one. Clips are drawn from 25 to 155 frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from av_hubert import AVHubert, AVHubertConfig
from datamodules.batch import Padded
from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt
from preparation.units.extraction import default_device, extract_batch

LARGE = {"num_layers": 24, "dim": 1024, "ffn_dim": 4096, "num_heads": 16}
SHORTEST, LONGEST = 25, 155
"""Frames; LRS3's test clips lie between."""


@group()
class BenchmarkOptions:
    """Benchmark"""

    num_clips: PositiveInt = 16
    """Number of clips."""
    max_frames: PositiveInt = 1500
    """Maximum number of frames in a batch, padding included."""
    layer: NonNegativeInt = 12
    """Layer whose output is taken."""


@dataclass(frozen=True, kw_only=True)
class Options:
    benchmark: BenchmarkOptions = field(default_factory=BenchmarkOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(name="benchmark", title=__doc__.partition("\n")[0], schema=Schema(Options))


def main(argv: list[str]) -> None:
    asked = cli.parse(argv, PROGRAM).options.benchmark
    device = default_device()
    torch.manual_seed(0)
    model = AVHubert(AVHubertConfig(**LARGE)).eval().to(device)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (asked.num_clips,)).sort(descending=True).values
    clips = [torch.randn(length, 88, 88) for length in lengths.tolist()]
    batches: list[list[torch.Tensor]] = [[]]
    for clip in clips:
        if batches[-1] and (len(batches[-1]) + 1) * len(batches[-1][0]) > asked.max_frames:
            batches.append([])
        batches[-1].append(clip)
    num_frames = int(lengths.sum())
    print(f"{len(clips)} clips, {num_frames} frames, {len(batches)} batches, {device}")
    print("way                                ms a clip   frames a second")
    layer = asked.layer

    def units_features(groups: list[list[torch.Tensor]]) -> None:
        for batch in groups:
            extract_batch(model, Padded.from_list(batch), layer)

    @torch.inference_mode()
    def in_model(silent_audio: bool | None) -> None:
        for batch in batches:
            video = Padded.from_list(batch).to(device)
            values, mask = video.values.unsqueeze(1), ~video.mask
            if silent_audio is None:
                model.extract(values, padding_mask=mask)
            else:
                model.extract_with_layer(values, padding_mask=mask, layer=layer, silent_audio=silent_audio)

    _row(
        "layer for units, one by one",
        lambda: units_features([[clip] for clip in clips]),
        len(clips),
        num_frames,
    )
    _row("layer for units, batched", lambda: units_features(batches), len(clips), num_frames)
    _row("final output, batched", lambda: in_model(None), len(clips), num_frames)
    _row("... and the layer, audio absent", lambda: in_model(False), len(clips), num_frames)
    _row("... and the layer, audio silent", lambda: in_model(True), len(clips), num_frames)


def _row(way: str, work: Callable[[], None], num_clips: int, num_frames: int) -> None:
    is_cuda = torch.cuda.is_available()
    seconds = []
    for _ in range(3 if is_cuda else 1):  # the first on a GPU makes plans
        if is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    best = min(seconds)
    print(f"{way:33s} {1e3 * best / num_clips:10.1f} {num_frames / best:17.0f}", flush=True)


if __name__ == "__main__":
    cli.run(main)
