"""An encoder that has no Hugging Face config: loudness in windows, bands read from a file, and a new head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from datamodules.batch import Padded
from llama_avsr.options.values import PositiveInt
from llama_avsr.provenance import pretrained

MEDIA = ("audio",)
MODEL_TYPES = ()
WINDOW = 320
NUM_BANDS = 8


@dataclass(frozen=True, kw_only=True)
class Options:
    """Loudness"""

    loudness_dim: PositiveInt = 10
    """Width of the frames of the encoder `loudness`."""


class LoudnessEncoder(nn.Module):
    frame_rate_hz = 50.0
    max_seconds = None

    def __init__(self, bands: nn.Linear, dim: int) -> None:
        super().__init__()
        self.bands = bands
        self.head = nn.Linear(NUM_BANDS, dim)
        self.dim = dim

    @staticmethod
    def prepare_audio(waveform: Tensor) -> Tensor:
        return waveform

    def forward(self, *, audio: Padded, video: None = None) -> Padded:
        values = audio.zeroed().values
        windows = values[:, : values.shape[1] // WINDOW * WINDOW].unflatten(1, (-1, WINDOW))
        bands = self.bands(windows.abs().to(self.bands.weight))
        return Padded(self.head(bands.to(self.head.weight)), audio.lengths // WINDOW)


def load(name: str, dtype: torch.dtype, loudness_dim: int = 10) -> LoudnessEncoder:
    bands = nn.Linear(WINDOW, NUM_BANDS)
    bands.load_state_dict(load_file(Path(name) / "bands.safetensors"))
    return LoudnessEncoder(pretrained(bands.to(dtype)), loudness_dim)


def tiny(folder: Path) -> str:
    torch.manual_seed(4)
    folder.mkdir(exist_ok=True, parents=True)
    save_file(dict(nn.Linear(WINDOW, NUM_BANDS).state_dict()), folder / "bands.safetensors")
    return str(folder)
