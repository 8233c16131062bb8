"""Transforms and noise against outputs recorded from the original; see data_side/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.media import load_audio
from datamodules.media.pixels import LUMA_WEIGHTS
from datamodules.noise import add_noise, excerpt
from datamodules.transforms import (
    GREY_MEAN,
    GREY_STD,
    AudioTransform,
    VideoTransform,
    cut_or_pad,
    time_mask,
)

FOLDER = Path(__file__).parent / "data_side"
FACTS = json.loads((FOLDER / "data_side.json").read_text())
HALF_A_LEVEL = 0.5 / 255 / GREY_STD
"""Grey is rounded to whole levels here, before it is normalised; the original does not round."""


@pytest.fixture(scope="module")
def recorded():
    with np.load(FOLDER / "data_side.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def sound():
    return load_audio(FOLDER / "sound.wav")


def grey(rgb):
    return (rgb.float() @ torch.from_numpy(LUMA_WEIGHTS) + 0.5).byte()


@pytest.mark.parametrize("name", ["clip", "odd_size"])
def test_test_video(recorded, name):
    video = VideoTransform(train=False)(grey(recorded[f"{name}.rgb"]), torch.Generator())
    expected = recorded[f"{name}.test"]
    assert video.shape == expected.shape
    assert (video - expected).abs().max() < HALF_A_LEVEL * 1.2


def test_training_video_is_one_of_our_draws(recorded):
    """Some crop, the same in all frames, and a black stretch shorter than the window."""
    expected = recorded["clip.train"]
    clip = (grey(recorded["clip.rgb"]).float() / 255 - GREY_MEAN) / GREY_STD
    black = ((expected - -GREY_MEAN / GREY_STD).abs() < 1e-5).all(-1).all(-1)
    assert 0 < black.sum() < 10
    assert black.int().diff().abs().sum() <= 2
    errors = [
        (clip[~black, y : y + 88, x : x + 88] - expected[~black]).abs().max()
        for y in range(9)
        for x in range(9)
    ]
    assert min(errors) < HALF_A_LEVEL * 1.2


def test_time_masks(recorded):
    for num_positions, num_masks in FACTS["num_time_masks"].items():
        # With window 2 a mask takes one position or none, and with 300 draws once all of them differ.
        most = max(
            int(
                (
                    time_mask(torch.ones(int(num_positions)), 2, 25, torch.Generator().manual_seed(s)) == 0
                ).sum()
            )
            for s in range(300)
        )
        assert most == num_masks
    ramp = recorded["time_mask.ramp_of_75"]
    masked = ramp == 0
    assert ramp[~masked].equal((torch.arange(75) + 1.0)[~masked])
    starts = int((masked.int().diff() == 1).sum())
    assert 0 < starts <= FACTS["num_time_masks"]["75"]


def test_test_sound(recorded, sound):
    """The encoder's layer norm comes last; before it, clean test sound is left as it is."""
    waveform = AudioTransform(train=False)(sound, torch.Generator())
    normalised = torch.nn.functional.layer_norm(waveform, waveform.shape, eps=1e-8)
    assert torch.allclose(normalised, recorded["sound.test"], atol=1e-5)
    assert cut_or_pad(sound, 640 * 10).equal(recorded["sound.cut_to_10_frames"])


@pytest.mark.parametrize("snr_db", FACTS["noise_start"])
def test_noise_at_an_snr(recorded, sound, snr_db):
    noise = load_audio(FOLDER / "noise.wav")
    noisy = add_noise(sound, excerpt(noise, FACTS["noise_start"][snr_db], len(sound)), float(snr_db))
    assert torch.allclose(noisy, recorded[f"noise.{snr_db}_db"], atol=1e-6)
