"""What waveform encoders (Whisper, WavLM) are fed."""

from torch import Tensor
from torch.nn import functional

EPS = 1e-8


def normalise(waveform: Tensor) -> Tensor:
    """Zero mean and unit variance over the whole utterance. waveform: [N] float32, any unit; returns [N]."""
    return functional.layer_norm(waveform, waveform.shape, eps=EPS)


def as_read(waveform: Tensor) -> Tensor:
    """waveform: [N] float32; returns it."""
    return waveform
