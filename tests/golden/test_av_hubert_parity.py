"""AV-HuBERT against the recordings of the original: every array to 1e-4."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from av_hubert import AVHubert, AVHubertConfig, load_checkpoint
from av_hubert.fairseq_file import model_settings
from tests.golden.av_hubert import FOLDER, PLAIN_CHECKPOINT, TOLERANCE, arrays

MICRO = arrays("micro_concat_prenorm")
LORA = arrays("micro_lora_concat_prenorm")
LEAKY = "finetune.av.mask_garbage"
COMPARED = [name for name in MICRO if name.startswith(("finetune.", "features.")) and name != LEAKY]


@pytest.fixture(scope="module")
def model() -> AVHubert:
    return load_checkpoint(PLAIN_CHECKPOINT)


def replay(model: AVHubert, name: str, recorded: dict[str, Tensor]) -> Tensor:
    """Run what an array's name says: `finetune.<media>[_long].<mask>[.layerK]`, `features.<mask>.<layer>`."""
    kind, *rest = name.split(".")
    media = rest.pop(0) if kind == "finetune" else "av"
    mask, *layer = rest
    suffix = "_long" if media.endswith("_long") else ""
    first = slice(None)
    frames = slice(None)
    if mask == "single1":
        first, frames, mask = slice(1, 2), slice(int((~recorded["in.padding_mask"][1]).sum())), "nomask"
    names = media.removesuffix("_long")
    return model.extract(
        video=recorded["in.video"][first, :, frames] if "v" in names else None,
        audio=recorded[f"in.audio{suffix}"][first, :, frames] if "a" in names else None,
        padding_mask=recorded[f"in.padding_mask{suffix}"] if mask == "mask" else None,
        layer=int(layer[0][-1]) if layer and layer != ["final"] else None,
    )


def difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()


def test_every_recorded_output_is_compared():
    others = {"frontend.resencoder", "frontend.video", "frontend.audio", LEAKY}
    assert len(COMPARED) == 29
    assert set(MICRO) == set(COMPARED) | others | {name for name in MICRO if name.startswith("in.")}


@torch.inference_mode()
@pytest.mark.parametrize("name", COMPARED)
def test_features(model, name):
    assert difference(replay(model, name, MICRO), MICRO[name]) < TOLERANCE


@torch.inference_mode()
def test_front_ends(model):
    resnet_outputs = []
    hook = model.feature_extractor_video.resnet.register_forward_hook(
        lambda *call: resnet_outputs.append(call[2])
    )
    video = model.feature_extractor_video(MICRO["in.video"]).transpose(1, 2)
    hook.remove()
    (packed,) = resnet_outputs
    batch_size, _, num_frames = MICRO["frontend.resencoder"].shape
    resnet = packed.unflatten(0, (batch_size, num_frames)).transpose(1, 2)
    audio = model.feature_extractor_audio(MICRO["in.audio"]).transpose(1, 2)
    assert difference(resnet, MICRO["frontend.resencoder"]) < TOLERANCE
    assert difference(video, MICRO["frontend.video"]) < TOLERANCE
    assert difference(audio, MICRO["frontend.audio"]) < TOLERANCE


@torch.inference_mode()
def test_the_recorded_leak_is_ours_without_zeroing_and_gone_with_it(model):
    video, audio, mask = (MICRO[f"in.{name}"] for name in ("video_garbage", "audio_garbage", "padding_mask"))
    leaky = model.fuse(model.feature_extractor_video(video), model.feature_extractor_audio(audio))
    leaky = model.encoder(leaky.masked_fill(mask[:, :, None], 0), mask)
    assert difference(leaky, MICRO[LEAKY]) < TOLERANCE
    assert difference(MICRO["finetune.av.mask"], MICRO[LEAKY]) > 0.1
    assert difference(model.extract(video, audio, mask), MICRO["finetune.av.mask"]) < TOLERANCE


@torch.inference_mode()
def test_lora():
    model = load_checkpoint(PLAIN_CHECKPOINT)
    without = replay(model, "finetune.av.mask", LORA)
    model.add_lora()
    assert model.config.lora_rank == 4
    torch.testing.assert_close(replay(model, "finetune.av.mask", LORA), without, rtol=0, atol=0)
    weights = {name.removeprefix("lora."): value for name, value in LORA.items() if name.startswith("lora.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert len(weights) == 8
    assert not unexpected
    assert not [name for name in missing if "lora" in name]
    names = [name for name in LORA if name.startswith("finetune.")]
    assert len(names) == 6
    for name in names:
        assert difference(replay(model, name, LORA), LORA[name]) < TOLERANCE, name
    assert difference(without, LORA["finetune.av.mask"]) > 0.01


def test_large_model_has_the_published_names_shapes_and_size():
    lines = (FOLDER / "names_large.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    published = {name: json.loads(shape) for name, shape, *_ in rows}
    num_parameters = sum(torch.Size(published[name]).numel() for name, _, _, kind in rows if kind == "param")
    assert (len(published), num_parameters) == (538, 325_398_504)

    settings = model_settings({"cfg": json.loads((FOLDER / "cfg_large.json").read_text())})
    config = AVHubertConfig(
        num_layers=settings["encoder_layers"],
        dim=settings["encoder_embed_dim"],
        ffn_dim=settings["encoder_ffn_embed_dim"],
        num_heads=settings["encoder_attention_heads"],
    )
    with torch.device("meta"):
        model = AVHubert(config)
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    dropped = {"mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias"}
    assert ours == {name: shape for name, shape in published.items() if name not in dropped}
