"""The number of valid Whisper frames, in the three arithmetics that models were trained with."""

from pathlib import Path

import numpy as np
import torch

from llama_avsr.encoders.whisper import num_frames

RECORDED = np.load(Path(__file__).parent / "llama_avsr" / "whisper_frames.npz")
SAMPLES = torch.from_numpy(RECORDED["samples"]).long()


def test_as_recorded() -> None:
    assert len(SAMPLES) > 700
    for rounding, name in (("float32", "fp32_default_dtype"), ("bfloat16", "bf16_default_dtype")):
        assert num_frames(SAMPLES, rounding).tolist() == RECORDED[name].tolist()


def test_exact() -> None:
    assert num_frames(SAMPLES).tolist() == [max(n * 50 // 16000, 25) for n in SAMPLES.tolist()]
    assert num_frames(torch.tensor([33920, 20133, 1])).tolist() == [106, 62, 25]
