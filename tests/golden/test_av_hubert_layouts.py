"""Every layout in which fairseq wrote the same weights loads to the same network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from av_hubert import AVHubertConfig, load_checkpoint
from av_hubert.checkpoint import main
from tests.golden.av_hubert import PACKED_LAYOUTS, PLAIN_CHECKPOINT, unpack_layouts

MICRO_CONFIG = AVHubertConfig(
    num_layers=2,
    dim=64,
    ffn_dim=128,
    num_heads=4,
    resnet_planes=(8, 16, 32, 64),
    input_dropout=0.1,
    layer_drop=0.05,
)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory) -> dict[str, Path]:
    return unpack_layouts(tmp_path_factory.mktemp("layouts"))


@pytest.mark.parametrize("layout", ["plain.pt", *PACKED_LAYOUTS])
def test_layouts_agree(layouts, layout):
    expected = torch.load(PLAIN_CHECKPOINT, weights_only=True)["model"]
    model = load_checkpoint(layouts[layout])
    assert model.config == MICRO_CONFIG
    assert not model.training
    state = model.state_dict()
    assert len(state) == len(expected) - 4
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("layout", ["dictconfig.pt", "finetuned_prefix.pt"])
def test_conversion_keeps_everything(layouts, layout, tmp_path, capsys):
    assert main([str(layouts[layout]), str(tmp_path / "converted")]) == 0
    printed = capsys.readouterr().out
    assert "182 tensors, 297,408 parameters" in printed
    assert sorted(path.name for path in (tmp_path / "converted").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    original = load_checkpoint(layouts[layout])
    for path in (tmp_path / "converted", tmp_path / "converted" / "model.safetensors"):
        converted = load_checkpoint(path)
        assert converted.config == original.config
        for name, tensor in original.state_dict().items():
            assert torch.equal(tensor, converted.state_dict()[name]), name


def test_older_torch_files_load_too(tmp_path):
    content = torch.load(PLAIN_CHECKPOINT, weights_only=True)
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    model = load_checkpoint(tmp_path / "old.pt")
    assert model.config == MICRO_CONFIG
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, content["model"][name]), name
