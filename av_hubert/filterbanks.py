"""Log mel filterbanks as AV-HuBERT hears them: 26 energies at 100 Hz, four of them to a video frame.

Equal to `python_speech_features.logfbank` with its defaults, computed for all frames at once.
Letters: N samples, M filterbank frames (100 Hz), T video frames (25 Hz).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400  # 25 ms
STEP_SAMPLES = 160  # 10 ms
FFT_POINTS = 512
NUM_FILTERS = 26
PRE_EMPHASIS = 0.97
FRAMES_PER_VIDEO_FRAME = 4
STACKED_DIM = FRAMES_PER_VIDEO_FRAME * NUM_FILTERS  # 104
SMALLEST_ENERGY = torch.finfo(torch.float64).eps
QUIETEST_BAND = 1e-6
"""Share of a frame's energy below which float32 rounding of the transform would show in a band's log."""
SMALLEST_NORMAL_ENERGY = 1e-30


def num_filterbank_frames(num_samples: int) -> int:
    """M for N samples: the last window may reach past the end."""
    return 1 + max(0, math.ceil((num_samples - WINDOW_SAMPLES) / STEP_SAMPLES))


def num_stacked_frames(num_samples: int) -> int:
    """T for N samples: the last group of four may be incomplete."""
    return math.ceil(num_filterbank_frames(num_samples) / FRAMES_PER_VIDEO_FRAME)


def filterbanks(waveform: Tensor) -> Tensor:
    """Log filterbank energies of one clip.

    waveform: [N], 16 kHz, any real dtype. Returns [M, 26] float32.
    Raises ValueError for an empty waveform or one with more than one dimension.
    """
    if waveform.dim() != 1 or len(waveform) == 0:
        raise ValueError(f"waveform: found shape {list(waveform.shape)}, expected [N] with N > 0, mono")
    energies = _energies(_windows(waveform.float()))
    # float32 is twice as fast and exact enough, except for a band far below the rest of its frame.
    is_wide = energies.amin(dim=0) < QUIETEST_BAND * energies.sum(dim=0) + SMALLEST_NORMAL_ENERGY
    logs = energies.log().T.contiguous()
    if is_wide.any():
        exact = _energies(_windows(waveform.double())[is_wide])
        logs[is_wide] = exact.masked_fill(exact == 0, SMALLEST_ENERGY).log().T.float()
    return logs


def stacked(waveform: Tensor, num_frames: int | None = None) -> Tensor:
    """Filterbanks at the video's rate, ready for the network (transpose to [104, T]).

    waveform: [N], 16 kHz; num_frames: T to cut or zero-pad to, None for as many as the sound fills.
    Returns [T, 104] float32, each row normalised to mean 0 and variance 1.
    """
    frames = filterbanks(waveform)
    total = num_stacked_frames(len(waveform)) if num_frames is None else num_frames
    missing = total * FRAMES_PER_VIDEO_FRAME - len(frames)
    rows = F.pad(frames, (0, 0, 0, missing)).reshape(total, STACKED_DIM)  # a negative pad cuts
    return F.layer_norm(rows, (STACKED_DIM,))


def _windows(signal: Tensor) -> Tensor:
    """Pre-emphasis, then overlapping windows, the last one zero-padded. [N] -> [M, 400]."""
    padded = signal.new_zeros((num_filterbank_frames(len(signal)) - 1) * STEP_SAMPLES + WINDOW_SAMPLES)
    padded[0] = signal[0]
    torch.sub(signal[1:], signal[:-1], alpha=PRE_EMPHASIS, out=padded[1 : len(signal)])
    return padded.unfold(0, WINDOW_SAMPLES, STEP_SAMPLES)


def _energies(windows: Tensor) -> Tensor:
    """[M, 400] -> [26, M], in the windows' precision."""
    points = F.pad(windows, (0, FFT_POINTS - WINDOW_SAMPLES))
    squares = torch.view_as_real(torch.fft.rfft(points)).square_()
    power = squares[..., 0] + squares[..., 1]
    return _mel_triangles(windows.dtype).to(power.device) @ power.T


@functools.cache
def _mel_triangles(dtype: torch.dtype) -> Tensor:
    """[26, 257]: triangles between FFT bins, evenly spaced in mel from 0 Hz to 8 kHz, over FFT_POINTS."""
    highest_mel = 2595 * math.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    mels = torch.linspace(0, highest_mel, NUM_FILTERS + 2, dtype=torch.float64)
    corners_hz = 700 * (10 ** (mels / 2595) - 1)
    corners = (corners_hz * (FFT_POINTS + 1) / SAMPLE_RATE_HZ).floor()
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = torch.arange(FFT_POINTS // 2 + 1, dtype=torch.float64)
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return (torch.minimum(rising, falling).clamp(min=0) / FFT_POINTS).to(dtype)
