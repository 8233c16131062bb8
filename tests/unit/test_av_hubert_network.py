"""The network's invariants: padding, packing, norms, LoRA, precision, compilation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import av_hubert
from av_hubert import AVHubert, AVHubertConfig
from av_hubert import resnet as resnet_module
from av_hubert.transformer import Layer, Transformer, WeightNormConv1d

LENGTHS = torch.tensor([9, 4, 1, 6])
NUM_FRAMES = 9
SIZE = 24
PADDING = torch.arange(NUM_FRAMES) >= LENGTHS[:, None]


def tiny(**changes) -> AVHubert:
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "dim": 32, "ffn_dim": 24, "num_heads": 4, "resnet_planes": (4, 6, 6, 8)}
    model = AVHubert(AVHubertConfig(**{**sizes, "conv_pos": 8, "conv_pos_groups": 4, **changes}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def inputs(poison: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(len(LENGTHS), 1, NUM_FRAMES, SIZE, SIZE, generator=generator)
    audio = torch.randn(len(LENGTHS), 104, NUM_FRAMES, generator=generator)
    video.masked_fill_(PADDING[:, None, :, None, None], poison)
    audio.masked_fill_(PADDING[:, None, :], poison)
    return video, audio


def chosen(media: str, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
    return {name: value for name, value in (("video", video), ("audio", audio)) if name[0] in media}


VARIANTS = pytest.mark.parametrize(
    "changes",
    [{}, {"layer_norm_first": False}, {"fusion": "add"}, {"resnet_activation": "relu"}, {"conv_pos": 7}],
    ids=["published", "post-norm", "add", "relu", "odd kernel"],
)


@VARIANTS
@pytest.mark.parametrize("media", ["v", "a", "va"])
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
@torch.inference_mode()
def test_batched_equals_single_whatever_lies_in_the_padding(changes, media, layer):
    model = tiny(**changes)
    clean = inputs()
    batched = model.extract(**chosen(media, *clean), padding_mask=PADDING, layer=layer)
    for poison in (1e3, float("nan"), float("inf")):
        poisoned = model.extract(**chosen(media, *inputs(poison)), padding_mask=PADDING, layer=layer)
        torch.testing.assert_close(poisoned, batched, rtol=0, atol=0)
    for index, length in enumerate(LENGTHS.tolist()):
        clip = [value[index : index + 1, :, :length] for value in clean]
        single = model.extract(**chosen(media, *clip), layer=layer)
        torch.testing.assert_close(batched[index : index + 1, :length], single, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_packed_front_end_equals_a_padded_one_in_three_dimensions():
    front_end = tiny().feature_extractor_video
    video, _ = inputs(poison=1e3)
    resnet = front_end.resnet
    conv, norm, activation, _ = resnet.frontend3D
    zeroed = video.masked_fill(PADDING[:, None, :, None, None], 0)
    x = nn.functional.conv3d(zeroed, conv.weight, stride=(1, 2, 2), padding=(2, 3, 3))
    x = nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    x = nn.functional.max_pool3d(activation(x), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    padded = front_end.proj(resnet.trunk(x.transpose(1, 2).flatten(0, 1))).unflatten(0, PADDING.shape)
    packed = front_end(video, PADDING)
    torch.testing.assert_close(packed[~PADDING], padded[~PADDING], rtol=0, atol=2e-5)
    assert not packed[PADDING].any()


@torch.inference_mode()
def test_it_looks_at_the_centre_of_the_picture_where_told(tmp_path: Path) -> None:
    model, whole = tiny(video_side=16), tiny()
    video, _ = inputs()
    expected = whole.extract(video=video[..., 4:20, 4:20], padding_mask=PADDING)
    assert torch.equal(model.extract(video=video, padding_mask=PADDING), expected)
    small = video[..., 5:19, 5:19]
    assert torch.equal(model.extract(video=small), whole.extract(video=small))
    av_hubert.save_pretrained(model, tmp_path)
    assert av_hubert.load_checkpoint(tmp_path).config.video_side == 16


def test_no_layer_of_the_front_end_sees_padding(monkeypatch):
    model = tiny()
    seen = []
    for module in (
        *model.feature_extractor_video.resnet.frontend3D,
        model.feature_extractor_video.resnet.trunk,
    ):
        module.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    video, _ = inputs()
    whole = model.extract(video, padding_mask=PADDING)
    assert set(seen) == {int(LENGTHS.sum())}
    monkeypatch.setattr(resnet_module, "FRAMES_PER_CHUNK", 7)
    seen.clear()
    torch.testing.assert_close(model.extract(video, padding_mask=PADDING), whole, rtol=0, atol=2e-5)
    assert set(seen) == {7, 6}


@pytest.mark.parametrize("layer_norm_first", [True, False])
@torch.inference_mode()
def test_layers_equal_those_of_torch(layer_norm_first):
    model = tiny(layer_norm_first=layer_norm_first)
    ours: Layer = model.encoder.layers[0]
    theirs = nn.TransformerEncoderLayer(
        32, 4, 24, activation="gelu", batch_first=True, norm_first=layer_norm_first
    ).eval()
    attention = ours.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
    theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    for mine, other in (
        (attention.out_proj, theirs.self_attn.out_proj),
        (ours.fc1, theirs.linear1),
        (ours.fc2, theirs.linear2),
        (ours.self_attn_layer_norm, theirs.norm1),
        (ours.final_layer_norm, theirs.norm2),
    ):
        other.load_state_dict(mine.state_dict())
    x = torch.randn(4, NUM_FRAMES, 32)
    expected = theirs(x, src_key_padding_mask=PADDING)
    found = ours(x, ~PADDING[:, None, None, :])
    torch.testing.assert_close(found[~PADDING], expected[~PADDING], rtol=0, atol=2e-5)


@torch.inference_mode()
def test_post_norm_normalises_first_and_not_at_the_end():
    model = tiny(layer_norm_first=False)
    _, audio = inputs()
    x = model.extract(audio=audio, layer=0)
    x = model.encoder.layer_norm(x + model.encoder.pos_conv(x.transpose(1, 2)).transpose(1, 2))
    for layer in model.encoder.layers:
        x = layer(x, None)
    torch.testing.assert_close(model.extract(audio=audio), x)
    torch.testing.assert_close(model.extract(audio=audio, layer=2), x)


@torch.inference_mode()
def test_add_sums_and_a_missing_modality_counts_as_zeros():
    model = tiny(fusion="add")
    video, audio = inputs()
    projected = model.feature_extractor_video(video), model.feature_extractor_audio(audio)
    torch.testing.assert_close(model.extract(video, audio, layer=0), model.layer_norm(sum(projected)))
    torch.testing.assert_close(model.extract(audio=audio, layer=0), model.layer_norm(projected[1]))
    assert not any(name.startswith("post_extract_proj") for name in model.state_dict())


def test_weight_norm_equals_that_of_torch():
    ours = WeightNormConv1d(12, 6, 3)
    nn.init.uniform_(ours.weight_g, 0.5, 2)
    theirs = nn.utils.parametrizations.weight_norm(nn.Conv1d(12, 12, 6, padding=3, groups=3), dim=2)
    theirs.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    x = torch.randn(2, 12, 10)
    torch.testing.assert_close(ours(x), theirs(x)[:, :, :-1])


@pytest.mark.parametrize("media", ["v", "a", "va"])
def test_a_clip_of_nothing_but_padding_is_finite_and_leaves_the_others_alone(media):
    model = tiny()
    video, audio = inputs(poison=float("nan"))
    empty = PADDING.clone()
    empty[1] = True
    video[1] = audio[1] = float("nan")
    with_empty = model.extract(**chosen(media, video, audio), padding_mask=empty)
    assert with_empty.isfinite().all()
    without = model.extract(**chosen(media, *inputs()), padding_mask=PADDING)
    keep = [0, 2, 3]
    torch.testing.assert_close(with_empty[keep], without[keep], rtol=0, atol=2e-5)
    with_empty.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert (
        model.extract(**chosen(media, video, audio), padding_mask=torch.ones_like(PADDING)).isfinite().all()
    )


@pytest.mark.parametrize("dropped", [False, True], ids=["eval", "train"])
def test_gradients_flow_and_checkpointing_changes_none(dropped):
    gradients = []
    for is_checkpointing in (False, True):
        model = tiny(dropout=0.1, attention_dropout=0.1, layer_drop=0.2).train(dropped)
        model.gradient_checkpointing = is_checkpointing
        assert model.gradient_checkpointing == is_checkpointing
        torch.manual_seed(3)
        model.extract(*inputs(), padding_mask=PADDING).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_dropout_and_layer_drop_act_in_training_only():
    model = tiny(layer_drop=0.5, dropout=0.2, input_dropout=0.2)
    _, audio = inputs()
    assert torch.equal(model.extract(audio=audio), model.extract(audio=audio))
    model.train()
    torch.manual_seed(0)
    first = model.extract(audio=audio)
    assert not torch.equal(first, model.extract(audio=audio))
    torch.manual_seed(0)
    assert torch.equal(first, model.extract(audio=audio))


def test_lora_starts_as_nothing_trains_and_is_kept_apart():
    model = tiny()
    video, audio = inputs()
    before = model.extract(video, audio, PADDING)
    model.requires_grad_(False)
    model.add_lora()
    assert torch.equal(model.extract(video, audio, PADDING), before)
    added = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert added == {
        f"encoder.layers.{layer}.self_attn.lora_{way}_{letter}.weight"
        for layer in range(2)
        for way in ("down", "up")
        for letter in "QV"
    }
    assert model.encoder.layers[0].self_attn.lora_down_Q.weight.shape == (2, 32)
    model.extract(video, audio, PADDING).square().sum().backward()
    assert model.encoder.layers[0].self_attn.lora_up_V.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="already has LoRA of rank 2"):
        model.add_lora()
    again = AVHubert(model.config)
    again.load_state_dict(model.state_dict())


@torch.inference_mode()
@pytest.mark.parametrize("is_autocast", [False, True], ids=["bf16 weights", "autocast"])
def test_bf16(is_autocast):
    model = tiny()
    expected = model.extract(*inputs(), padding_mask=PADDING)
    if is_autocast:
        with torch.autocast("cpu", torch.bfloat16):
            found = model.extract(*inputs(), padding_mask=PADDING)
    else:
        video, audio = inputs()
        found = model.bfloat16().extract(video.bfloat16(), audio.bfloat16(), PADDING)
        assert found.dtype == torch.bfloat16
    error = (found.float() - expected)[~PADDING].abs().mean() / expected[~PADDING].abs().mean()
    assert error < 0.03


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("padding_mask", [PADDING, None], ids=["mask", "no mask"])
def test_transformer_compiles_into_one_graph(padding_mask):
    encoder: Transformer = tiny().encoder
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, NUM_FRAMES, 32)
    torch.testing.assert_close(compiled(x, padding_mask), encoder(x, padding_mask))


@pytest.mark.slow
@torch.inference_mode()
def test_the_whole_model_compiles():
    model = tiny(num_layers=1)
    compiled = torch.compile(model, backend="eager")
    expected = model.extract(*inputs(), padding_mask=PADDING)
    torch.testing.assert_close(compiled(*inputs(), padding_mask=PADDING), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither video nor audio"),
        ({"video": torch.zeros(2, 5, 88, 88)}, r"video: found shape \[2, 5, 88, 88\], expected \[B, 1, T"),
        ({"audio": torch.zeros(2, 5, 104)}, r"audio: found shape \[2, 5, 104\], expected \[B, 104, T\]"),
        (
            {"video": torch.zeros(2, 1, 5, 8, 8), "audio": torch.zeros(2, 104, 6)},
            r"disagree: video \(2, 5\), audio \(2, 6\); cut or pad",
        ),
        (
            {"audio": torch.zeros(1, 104, 5), "padding_mask": torch.zeros(1, 5)},
            "padding_mask: found torch.float32",
        ),
        ({"audio": torch.zeros(1, 104, 5), "layer": 3}, "layer: found 3, expected None or 0 to 2"),
    ],
)
def test_wrong_inputs(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny().extract(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "multiply"}, "fusion: found 'multiply', expected"),
        ({"num_heads": 5}, "num_heads: found 5, expected a divisor of dim 768"),
        ({"conv_pos_groups": 7}, "conv_pos_groups: found 7"),
        ({"resnet_planes": (1, 2)}, "resnet_planes: found"),
        ({"resnet_activation": "swish"}, "resnet_activation: found 'swish'"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        AVHubertConfig(**changes)


NARROW_NETWORK = """
import torch
from av_hubert import AVHubert, AVHubertConfig
torch.manual_seed(0)
config = AVHubertConfig(num_layers=1, dim=16, ffn_dim=16, num_heads=2, conv_pos=16, conv_pos_groups=4,
                        resnet_planes=(2, 2, 2, 2))
model = AVHubert(config)
for module in model.modules():
    if isinstance(module, torch.nn.Conv2d):
        module.to(memory_format=torch.channels_last)
for _ in range(10):
    model.extract(video=torch.randn(2, 1, 20, 88, 88)).sum().backward()
print(sum(float(p.grad.abs().sum()) for p in model.feature_extractor_video.parameters()) > 0)
"""
NARROW_SHORTCUT = """
import torch
from av_hubert.resnet import Conv2d
conv = Conv2d(8, 32, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
for frames in 15 * (225, 224, 150, 301):
    x = torch.randn(frames, 8, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    conv(x).square().mean().backward()
print(float(conv.weight.grad.abs().sum()) > 0)
"""


@pytest.mark.parametrize(
    ("code", "isa", "threads"),
    [(NARROW_NETWORK, "AVX2", 1), (NARROW_SHORTCUT, "AVX2", 2), (NARROW_SHORTCUT, "AVX512_CORE", 2)],
)
def test_narrow_convolutions_train_in_channels_last(code: str, isa: str, threads: int) -> None:
    """oneDNN corrupts the heap in the backward pass: of fewer than 8 channels on CPUs with AVX2 alone, of
    fewer than 16 through a 1x1 kernel with a stride on CPUs with AVX-512, in several threads."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": str(threads)},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr[-1000:]
