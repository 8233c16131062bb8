"""Features for visual units: clips one by one against batches, and on-the-fly units beside the features.

    python -m benchmarks.unit_features [--num-clips 16] [--max-frames 1500] [--layer 12]

AV-HuBERT large with random weights, on the GPU where there is one. Clips are drawn from 25 to 155 frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from av_hubert import AVHubert, AVHubertConfig
from datamodules.batch import Padded
from preparation.units.extraction import default_device, extract_batch

LARGE = {"num_layers": 24, "dim": 1024, "ffn_dim": 4096, "num_heads": 16}
SHORTEST, LONGEST = 25, 155
"""Frames; LRS3's test clips lie between."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unit_features", description=__doc__)
    parser.add_argument("--num-clips", type=int, default=16)
    parser.add_argument("--max-frames", type=int, default=1500, help="of a batch, padding included")
    parser.add_argument("--layer", type=int, default=12)
    arguments = parser.parse_args()
    device = default_device()
    torch.manual_seed(0)
    model = AVHubert(AVHubertConfig(**LARGE)).eval().to(device)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (arguments.num_clips,)).sort(descending=True).values
    clips = [torch.randn(length, 88, 88) for length in lengths.tolist()]
    batches: list[list[torch.Tensor]] = [[]]
    for clip in clips:
        if batches[-1] and (len(batches[-1]) + 1) * len(batches[-1][0]) > arguments.max_frames:
            batches.append([])
        batches[-1].append(clip)
    num_frames = int(lengths.sum())
    print(f"{len(clips)} clips, {num_frames} frames, {len(batches)} batches, {device}")
    print("way                                ms a clip   frames a second")
    layer = arguments.layer

    def units_features(groups: list[list[torch.Tensor]]) -> None:
        for group in groups:
            extract_batch(model, Padded.from_list(group), layer)

    @torch.inference_mode()
    def in_model(silent_audio: bool | None) -> None:
        for group in batches:
            video = Padded.from_list(group).to(device)
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
    main()
