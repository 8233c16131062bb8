"""The network of BlazeFace's full-range model, as MediaPipe publishes it: a square picture in, faces out.

A small residual network goes down to a 32nd of the picture's side and back up to a quarter, where every place
(an anchor) says whether a face is near, and where its box and key points lie.

The weights are those of face_detection_full_range_sparse.tflite in mediapipe 0.10.21 (Copyright The MediaPipe
Authors, Apache License 2.0): float16 as there, zeros filled in, axes in PyTorch's order. Its SHA-256 is
2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1.

Letters: B pictures, C channels, H and W places of a feature map, A anchors (2304).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("blazeface_full_range.npz")
SIDE = 192
"""Pixels of the picture."""
ANCHORS_PER_SIDE = 48
NUM_VALUES = 16
"""Of an anchor: the box's middle and size, then six key points (x, y); pixels, from the anchor's middle."""
STAGES = ((64, 16, 2), (128, 32, 2), (192, 48, 2), (384, 96, 3))
"""Channels, those inside a block, blocks after the one that halves the map."""
LATERALS = (48, 64, 96, 96)
"""Channels of what each stage hands to the way up."""
UPWARD = ((96, 48, 2), (64, 32, 2), (48, 24, 1))


class BlazeFace(nn.Module):
    """float [B, 3, 192, 192] RGB in -1..1 -> logits [B, A], values [B, A, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.first = nn.Sequential(_Block(32, 8, 32), _Block(32, 8, 32))
        widths = (32, *(width for width, _, _ in STAGES))
        self.stages = nn.ModuleList(
            nn.Sequential(
                _Block(before, inside, width, stride=2),
                *(_Block(width, inside, width) for _ in range(count)),
            )
            for before, (width, inside, count) in zip(widths, STAGES, strict=False)
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, lateral, 1) for width, lateral in zip(widths[1:], LATERALS, strict=True)
        )
        self.upward = nn.ModuleList(
            nn.Sequential(*(_Block(width, inside, width) for _ in range(count)))
            for width, inside, count in UPWARD
        )
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in ((96, 64), (64, 48)))
        self.logit = _Head(1)
        self.values = _Head(NUM_VALUES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(_relu(self.stem(pictures)))
        sides = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            sides.append(_relu(lateral(x)))
        x = sides.pop()
        for index, blocks in enumerate(self.upward):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = blocks(x + sides.pop())
            if index < len(self.narrow):
                x = _relu(self.narrow[index](x))
        return self.logit(x).flatten(1), self.values(x).flatten(2).transpose(1, 2)


class _Block(nn.Module):
    """Two depthwise convolutions, each before a pointwise one; the input is added where it has the shape."""

    def __init__(self, before: int, inside: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.is_residual = stride == 1
        self.depthwise_in = nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before)
        self.pointwise_in = nn.Conv2d(before, inside, 1)
        self.depthwise_out = nn.Conv2d(inside, inside, 3, padding=1, groups=inside)
        self.pointwise_out = nn.Conv2d(inside, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        inside = _relu(self.pointwise_in(self.depthwise_in(x)))
        after = self.pointwise_out(self.depthwise_out(inside))
        return _relu(after.add_(x) if self.is_residual else after)


class _Head(nn.Module):
    """Four neighbouring anchors' numbers at every second place, put where they belong."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(UPWARD[-1][0], 4 * numbers, 1)
        self.depthwise = nn.Conv2d(4 * numbers, 4 * numbers, 3, stride=2, padding=1, groups=4 * numbers)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.depthwise(self.pointwise(x)), 2)


def _relu(x: Tensor) -> Tensor:
    """In place: nothing is trained here, and memory is half of the work."""
    return functional.relu(x, inplace=True)


def load() -> BlazeFace:
    """The network with the weights that come with the package, for inference."""
    network = BlazeFace()
    with np.load(WEIGHTS, allow_pickle=False) as file:
        state = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def anchor_middles() -> np.ndarray:
    """float64 [A, 2]: x, y of the anchors' middles, pixels of the picture."""
    places = (np.arange(ANCHORS_PER_SIDE) + 0.5) * SIDE / ANCHORS_PER_SIDE
    x, y = np.meshgrid(places, places)
    return np.stack([x.ravel(), y.ravel()], axis=1)
