"""Filterbanks against python_speech_features and the recordings."""

from __future__ import annotations

import numpy as np
import pytest
import python_speech_features
import torch

from av_hubert.filterbanks import filterbanks, num_filterbank_frames, num_stacked_frames, stacked
from tests.golden.av_hubert import TOLERANCE, arrays

SAMPLE_RATE_HZ = 16_000
SECONDS = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
NOISE = np.random.default_rng(0).normal(size=SAMPLE_RATE_HZ)
SIGNALS = {
    "noise": 0.1 * NOISE,
    "16 bit integers": np.round(3000 * NOISE).astype(np.int16),
    "tone": np.sin(2 * np.pi * 1000 * SECONDS),
    "chirp": np.sin(2 * np.pi * (100 + 3800 * SECONDS) * SECONDS),
    "smooth pulses, bands 1e-10 apart": np.exp(-(((SECONDS % 0.1 - 0.05) / 0.003) ** 2)),
    "hum": np.cumsum(np.cumsum(NOISE)) * 1e-3,
    "bursts between digital silence": 1e-3 * NOISE * (SECONDS % 0.3 < 0.1),
    "silence": np.zeros(5000),
    "all but silence": 1e-20 * NOISE,
    **{f"{n} samples": 0.1 * NOISE[:n] for n in (1, 100, 399, 400, 401, 560, 561, 640, 6400)},
}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS.keys())
def test_equal_to_python_speech_features(signal):
    expected = torch.from_numpy(python_speech_features.logfbank(signal, SAMPLE_RATE_HZ))
    found = filterbanks(torch.from_numpy(signal))
    assert found.shape == expected.shape == (num_filterbank_frames(len(signal)), 26)
    assert (found - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("clip", ["u0", "u1", "u2"])
def test_recordings(clip):
    recorded = arrays("filterbanks")
    waveform = recorded[f"{clip}.wave"][:, 0]
    assert (filterbanks(waveform) - recorded[f"{clip}.logfbank"]).abs().max() < TOLERANCE
    assert (stacked(waveform) - recorded[f"{clip}.stack4_ln"]).abs().max() < TOLERANCE
    assert len(stacked(waveform)) == num_stacked_frames(len(waveform))


def test_num_frames_cuts_and_pads():
    waveform = arrays("filterbanks")["u0.wave"][:, 0]
    whole = stacked(waveform)
    torch.testing.assert_close(stacked(waveform, num_frames=20), whole[:20])
    longer = stacked(waveform, num_frames=40)
    assert longer.shape == (40, 104)
    assert (longer[:31] - whole[:31]).abs().max() < TOLERANCE
    assert not longer[len(whole) :].any()
    assert len(stacked(torch.zeros(640 * 50))) == 50


@pytest.mark.parametrize("shape", [(0,), (2, 800)])
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match=r"waveform: found shape .* expected \[N\]"):
        filterbanks(torch.zeros(shape))
