"""Noise at an exact SNR."""

import pytest
import torch

from datamodules.defaults import CLEAN_SNR_DB
from datamodules.noise import add_noise, excerpt, make_babble


def waveform(num_samples, seed):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("snr_db", [-5, 0, 2.5, 20])
def test_the_ratio_is_exact(snr_db):
    speech, noise = waveform(5000, 0), waveform(5000, 1)
    added = add_noise(speech, noise, snr_db) - speech
    ratio_db = 10 * torch.log10(speech.square().sum() / added.square().sum())
    assert ratio_db.item() == pytest.approx(snr_db, abs=1e-3)
    assert torch.nn.functional.cosine_similarity(added, noise, dim=0) > 0.9999


def test_clean_is_clean():
    speech = waveform(100, 0)
    assert torch.equal(add_noise(speech, waveform(100, 1), CLEAN_SNR_DB), speech)


def test_silence_gives_no_nan():
    speech, silence = waveform(100, 0), torch.zeros(100)
    assert torch.equal(add_noise(speech, silence, 0), speech)
    assert torch.equal(add_noise(silence, speech, 0), silence)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected noise as long as the speech, 100 samples, found 50"):
        add_noise(waveform(100, 0), waveform(50, 1), 0)


def test_short_noise_begins_anew():
    noise = torch.arange(5.0)
    assert excerpt(noise, 3, 9).tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert excerpt(noise, 1, 3).tolist() == [1, 2, 3]
    assert excerpt(noise, 7, 2).tolist() == [2, 3]
    with pytest.raises(ValueError, match="found no sample"):
        excerpt(torch.zeros(0), 0, 5)


def test_babble_is_the_mean_of_its_talkers():
    babble = make_babble([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0, 3.0, 9.0])], 4)
    assert babble.tolist() == [2.0, 2.5, 2.0, 5.5]
    with pytest.raises(ValueError, match="found none"):
        make_babble([], 4)
