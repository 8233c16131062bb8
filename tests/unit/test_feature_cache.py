"""Frames that come from the disk are those that would be computed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from datamodules.batch import Padded
from llama_avsr.model.feature_cache import FeatureCache
from tests import models


class Encoder(nn.Module):
    """Halves the frame rate, and counts the clips it was given."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(2, 3)
        self.clips = 0

    def forward(self, *, audio: Padded) -> Padded:
        self.clips += len(audio)
        return Padded(self.layer(audio.values.unfold(1, 2, 2)), audio.lengths // 2)


def batch(*lengths: int, seed: int = 0) -> Padded:
    generator = torch.Generator().manual_seed(seed)
    padded = Padded.from_list([torch.randn(length, generator=generator) for length in lengths])
    padded.values[~padded.mask] = float("nan")
    return padded


def equal(found: Padded, expected: Padded) -> None:
    assert found.lengths.tolist() == expected.lengths.tolist()
    for one, other in zip(found.unpad(), expected.unpad(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_clip_is_encoded_once(tmp_path: Path) -> None:
    encoder, cache, clips = Encoder(), FeatureCache(tmp_path), batch(8, 4, 6)
    expected = Encoder()(audio=clips)
    equal(cache(encoder, audio=clips), expected)
    assert encoder.clips == 3
    # In another order, beside a clip that is new.
    values = [clips.unpad()[place] for place in (2, 0)] + [torch.ones(10)]
    again = cache(encoder, audio=Padded.from_list(values))
    assert encoder.clips == 4
    equal(again, Encoder()(audio=Padded.from_list(values)))
    assert (cache.found, cache.computed) == (2, 4)


def test_another_process_finds_it(tmp_path: Path) -> None:
    clips, encoder = batch(8, 4), Encoder()
    FeatureCache(tmp_path)(Encoder(), audio=clips)
    equal(FeatureCache(tmp_path)(encoder, audio=clips), Encoder()(audio=clips))
    assert encoder.clips == 0


@pytest.mark.parametrize("change", ["weights", "settings", "sound"])
def test_what_the_frames_depend_on_is_part_of_the_key(change: str, tmp_path: Path) -> None:
    FeatureCache(tmp_path, "whisper 30s")(Encoder(), audio=batch(8))
    encoder = Encoder(seed=int(change == "weights"))
    clips = batch(8, seed=int(change == "sound"))
    settings = "whisper none" if change == "settings" else "whisper 30s"
    equal(
        FeatureCache(tmp_path, settings)(encoder, audio=clips), Encoder(int(change == "weights"))(audio=clips)
    )
    assert encoder.clips == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_damaged_file_is_computed_anew(damage: str, tmp_path: Path) -> None:
    clips, encoder = batch(8), Encoder()
    FeatureCache(tmp_path)(Encoder(), audio=clips)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[:-3], "other": b"x" * 100}[damage])
    equal(FeatureCache(tmp_path)(encoder, audio=clips), Encoder()(audio=clips))
    assert encoder.clips == 1
    assert path.read_bytes() == whole
    assert [*tmp_path.rglob("*.*")] == [path]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache, clips = FeatureCache(tmp_path / "file"), batch(8, 4)
    with caplog.at_level(logging.WARNING):
        equal(cache(Encoder(), audio=clips), Encoder()(audio=clips))
        cache(Encoder(), audio=clips)
    assert caplog.text.count("cannot be written to") == 1


def test_a_model_loses_nothing_by_it(tmp_path: Path) -> None:
    made = models.folders(tmp_path / "models")
    model = models.build(made, "audiovisual")
    (one, other, _) = models.clips(model, "transcribe speech and video to text .")
    both = models.joined([one, other])
    expected = model.loss(both).cross_entropy
    model.feature_cache = FeatureCache(tmp_path / "cache")
    for clips in (one, both, both):
        found = model.loss(clips).cross_entropy
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (model.feature_cache.found, model.feature_cache.computed) == (6, 4)


def test_an_encoder_that_is_trained_is_asked_each_time(tmp_path: Path) -> None:
    made = models.folders(tmp_path / "models")
    model = models.build(made, "video", unfrozen_modules=("encoder",))
    model.feature_cache = FeatureCache(tmp_path / "cache")
    model.loss(models.clips(model, "transcribe video to text .")[0])
    assert not (tmp_path / "cache").exists()
