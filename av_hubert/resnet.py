"""The video front end: a temporal stem and a ResNet-18 trunk, computed on valid frames only.

Letters: B clips, T frames of a batch, N valid frames of all clips together, H x W pixels, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

TEMPORAL_KERNEL = 5
FRAMES_PER_CHUNK = 256
MIN_CHANNELS_LAST, MIN_CHANNELS_LAST_1X1 = 8, 16
"""Fewer channels never run in channels_last: in the backward pass of such convolutions oneDNN writes past its
buffers, and the interpreter dies. Of fewer than 8 on CPUs without AVX-512; of a 1x1 kernel with a stride, and
fewer than 16 channels, on CPUs with it and in several threads."""


class Conv2d(nn.Conv2d):
    """A convolution that is safe to train in any memory format."""

    def forward(self, x: Tensor) -> Tensor:
        needed = MIN_CHANNELS_LAST_1X1 if self.kernel_size == (1, 1) else MIN_CHANNELS_LAST
        if min(self.in_channels, self.out_channels) >= needed:
            return super().forward(x)
        return self._conv_forward(_channels_first(x), _channels_first(self.weight), self.bias)


class TemporalConv(nn.Module):
    """Convolution over five neighbouring frames: a Conv3d 1 -> C with kernel (5, 7, 7), stride (1, 2, 2).

    With one input channel the five frames can stand as the channels of a 2-D convolution. That gives the
    same numbers, needs no neighbours computed, and runs on any subset of frames.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, TEMPORAL_KERNEL, 7, 7))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, windows: Tensor) -> Tensor:
        """[N, 5, H, W] -> [N, C, H/2, W/2]."""
        return F.conv2d(windows, self.weight.squeeze(1), stride=2, padding=3)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual."""

    def __init__(self, in_channels: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = _activation(activation, channels)
        self.conv2 = _conv3x3(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = _activation(activation, channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)) + residual)


class Trunk(nn.Module):
    """ResNet-18 without its stem and classifier. [N, C0, H, W] -> [N, C3]."""

    def __init__(self, planes: tuple[int, ...], activation: str) -> None:
        super().__init__()
        in_channels = planes[0]
        for number, channels in enumerate(planes, start=1):
            blocks = (
                BasicBlock(in_channels, channels, 1 if number == 1 else 2, activation),
                BasicBlock(channels, channels, 1, activation),
            )
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            in_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.children():
            x = stage(x)
        return x.mean(dim=(2, 3))


class ResNet(nn.Module):
    """Stem and trunk. Takes packed windows, so that padding costs nothing."""

    def __init__(self, planes: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.frontend3D = nn.Sequential(
            TemporalConv(planes[0]),
            nn.BatchNorm2d(planes[0]),
            _activation(activation, planes[0]),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.trunk = Trunk(planes, activation)

    def forward(self, windows: Tensor) -> Tensor:
        """[N, 5, H, W] -> [N, C]."""
        return self.trunk(self.frontend3D(windows))


class VideoFrontEnd(nn.Module):
    """Frames to vectors of the transformer's width."""

    def __init__(self, planes: tuple[int, ...], activation: str, dim: int, side: int | None = None) -> None:
        """side: of the pictures' centre that is looked at, in pixels; None for all of it."""
        super().__init__()
        self.side = side
        self.resnet = ResNet(planes, activation)
        self.proj = nn.Linear(planes[-1], dim)
        self.gradient_checkpointing = False

    def forward(self, video: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Project the valid frames; a padded frame's output is 0 and its content is never looked at.

        video: [B, 1, T, H, W]; padding_mask: [B, T], True where padded. Returns [B, T, D].
        """
        if padding_mask is None:
            padding_mask = video.new_zeros(video.shape[0], video.shape[2], dtype=torch.bool)
        windows, position = frame_windows(_centre(video, self.side), padding_mask)
        features = self.proj(self._resnet_in_chunks(windows))
        batch_size, num_frames = padding_mask.shape
        packed = features.new_zeros(batch_size * num_frames, features.shape[1])
        return packed.index_copy(0, position, features).view(batch_size, num_frames, -1)

    def _resnet_in_chunks(self, windows: Tensor) -> Tensor:
        # In training mode BatchNorm wants all frames at once; otherwise frames are independent.
        if self.training or len(windows) <= FRAMES_PER_CHUNK:
            return self._resnet(windows)
        return torch.cat([self._resnet(chunk) for chunk in windows.split(FRAMES_PER_CHUNK)])

    def _resnet(self, windows: Tensor) -> Tensor:
        # In training mode a second pass would update BatchNorm's running statistics twice.
        if self.gradient_checkpointing and torch.is_grad_enabled() and not self.training:
            return checkpoint(self.resnet, windows, use_reentrant=False)
        return self.resnet(windows)


def _centre(video: Tensor, side: int | None) -> Tensor:
    height, width = video.shape[-2:]
    if side is None or max(height, width) <= side:
        return video
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return video[..., top : top + side, left : left + side]


def frame_windows(video: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Gather each valid frame with its two neighbours on either side, zeros past the clip's ends.

    video: [B, 1, T, H, W]; padding_mask: [B, T], True where padded.
    Returns windows [N, 5, H, W] and the positions [N] of the valid frames in the flattened batch.
    """
    reach = TEMPORAL_KERNEL // 2
    frames = video.squeeze(1).masked_fill(padding_mask[:, :, None, None], 0)
    frames = F.pad(frames, (0, 0, 0, 0, reach, reach))
    clip, time = (~padding_mask).nonzero(as_tuple=True)
    offsets = torch.arange(TEMPORAL_KERNEL, device=video.device)
    return frames[clip[:, None], time[:, None] + offsets], clip * padding_mask.shape[1] + time


def _channels_first(x: Tensor) -> Tensor:
    # `contiguous` leaves 1x1 kernels as they are, whose strides say channels_last all the same.
    return x.clone(memory_format=torch.contiguous_format) if _is_channels_last(x) else x.contiguous()


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _conv3x3(in_channels: int, channels: int, stride: int) -> Conv2d:
    conv = Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv


def _activation(name: str, channels: int) -> nn.Module:
    return nn.PReLU(channels) if name == "prelu" else nn.ReLU()
