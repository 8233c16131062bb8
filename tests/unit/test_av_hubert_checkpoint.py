"""AV-HuBERT on disk: folders, precision, and errors that say what to do."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from av_hubert import AVHubert, AVHubertConfig, load_checkpoint, save_pretrained
from av_hubert.checkpoint import main

SIZES = {"num_layers": 1, "dim": 32, "ffn_dim": 16, "num_heads": 2, "resnet_planes": (4, 4, 6, 8)}


def tiny(**changes) -> AVHubert:
    torch.manual_seed(0)
    return AVHubert(AVHubertConfig(**{**SIZES, "conv_pos": 6, "conv_pos_groups": 4, **changes})).eval()


def fairseq_content(model: AVHubert, **settings) -> dict:
    config = model.config
    settings = {"encoder_attention_heads": config.num_heads, "layer_norm_first": True, **settings}
    return {"model": dict(model.state_dict()), "cfg": {"model": settings}, "args": None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "add", "resnet_activation": "relu", "layer_norm_first": False},
        {"num_layers": 3, "conv_pos": 5, "audio_dim": 26, "lora_rank": 2},
    ],
)
def test_shapes_tell_the_configuration(changes, tmp_path):
    model = tiny(**changes)
    content = fairseq_content(
        model, layer_norm_first=model.config.layer_norm_first, encoder_layers=99, encoder_embed_dim=7
    )
    torch.save(content, tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.config == model.config
    audio = torch.randn(2, model.config.audio_dim, 9)
    torch.testing.assert_close(loaded.extract(audio=audio), model.extract(audio=audio), rtol=0, atol=0)

    save_pretrained(model, tmp_path / "folder")
    assert load_checkpoint(tmp_path / "folder").config == model.config


def test_the_original_defaults_fill_gaps(tmp_path):
    model = tiny(dim=48, num_heads=12)
    torch.save({"model": model.state_dict(), "cfg": {"model": {"dropout": 0.3}}}, tmp_path / "x.pt")
    config = load_checkpoint(tmp_path / "x.pt").config
    assert (config.num_heads, config.layer_norm_first, config.dropout) == (12, False, 0.3)

    model = tiny(dim=128, num_heads=2)
    torch.save({"model": model.state_dict(), "cfg": None, "args": None}, tmp_path / "bare.pt")
    config = load_checkpoint(tmp_path / "bare.pt").config
    assert (config.num_heads, config.layer_norm_first) == (2, True)


def test_half_precision_storage_is_read_back_as_float32(tmp_path):
    model = tiny()
    model.feature_extractor_video.resnet.frontend3D[1].running_var.fill_(1e6)  # beyond float16
    save_pretrained(model, tmp_path / "full")
    save_pretrained(model, tmp_path / "half", dtype=torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half")
    for name, tensor in model.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-3)


def test_weights_are_float32_under_another_default_dtype(tmp_path):
    save_pretrained(tiny(), tmp_path)
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = load_checkpoint(tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_folder_is_whole_shared_and_without_leftovers(tmp_path):
    save_pretrained(tiny(), tmp_path / "a" / "b")
    save_pretrained(tiny(), tmp_path / "a" / "b")  # over an older one
    files = {path.name: path for path in (tmp_path / "a" / "b").iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors"]
    assert json.loads(files["config.json"].read_text())["model_type"] == "av_hubert"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files.values()}
    assert len(modes) == 1


def _without(content: dict, name: str) -> dict:
    del content["model"][name]
    return content


def _with(content: dict, name: str, value: object) -> dict:
    content["model"][name] = value
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: _without(c, "encoder.layers.0.fc2.bias"),
            r"misses 1 tensors: encoder\.layers\.0\.fc2\.bias",
        ),
        (lambda c: _with(c, "decoder.x", torch.zeros(1)), r"unexpected 1 tensors: decoder\.x"),
        (
            lambda c: _with(c, "layer_norm.bias", torch.zeros(3)),
            r"layer_norm\.bias has shape \[3\], expected \[64\]",
        ),
        (lambda c: _with(c, "layer_norm.bias", "text"), r"layer_norm\.bias: found 'text', expected a tensor"),
        (lambda c: _without(c, "encoder.pos_conv.0.weight_v"), "no positional convolution"),
        (lambda c: {"state_dict": {}}, r"found the keys \['state_dict'\], expected a fairseq checkpoint"),
        (lambda c: [1, 2], "found no dict, expected a fairseq checkpoint"),
        (lambda c: {**c, "cfg": {"model": {"encoder_attention_heads": 5}}}, "num_heads: found 5"),
        (
            lambda c: {**c, "cfg": {"model": {"activation_fn": "relu"}}},
            "activation_fn 'relu', expected 'gelu'",
        ),
    ],
)
def test_unfit_checkpoints(change: Callable, message: str, tmp_path):
    torch.save(change(fairseq_content(tiny())), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: .*" + message):
        load_checkpoint(tmp_path / "x.pt")


def _write(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.pt", "no such file; expected a fairseq .pt"),
        (lambda folder: folder, "no config.json; expected what"),
        (_write("empty.pt", b""), "expected a file written by torch.save"),
        (_write("page.pt", b"<!DOCTYPE html><html></html>"), "expected a file written by torch.save"),
        (_write("zip.pt", b"PK\x05\x06" + bytes(18)), "a zip with 0 data.pkl"),
        (_write("number.pt", b"I1\n."), "a pickle that torch did not write"),
    ],
)
def test_what_is_not_a_checkpoint(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_checkpoint(make(tmp_path))


def test_truncated_files(tmp_path):
    content = fairseq_content(tiny())
    for is_zip in (True, False):
        path = tmp_path / "x.pt"
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=r"expected a file written by torch\.save"):
            load_checkpoint(path)


def test_wrong_folders(tmp_path):
    save_pretrained(tiny(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in (
        ({**config, "model_type": "whisper"}, "found model_type 'whisper', expected 'av_hubert'"),
        ({**config, "new_setting": 1}, r"unknown settings \['new_setting'\]"),
        ({**config, "fusion": "mul"}, "fusion: found 'mul'"),
        ({**config, "num_layers": 2}, "misses 16 tensors"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors: not readable"):
        load_checkpoint(tmp_path)


def test_command_reports_errors_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "missing.pt"), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
