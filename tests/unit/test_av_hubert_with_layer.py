"""`extract_with_layer`: two outputs for the price of one video front end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.test_av_hubert_network import LENGTHS, NUM_FRAMES, PADDING, VARIANTS, inputs, tiny

MASKS = pytest.mark.parametrize("mask", [None, PADDING], ids=["whole", "padded"])
LAYERS = pytest.mark.parametrize("layer", [0, 1, 2])


def valid(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values[~mask]


def equal(found: Tensor, expected: Tensor, mask: Tensor | None) -> None:
    torch.testing.assert_close(valid(found, mask), valid(expected, mask), rtol=0, atol=0)


@VARIANTS
@MASKS
@LAYERS
@torch.inference_mode()
def test_silent_audio_is_an_audio_tensor_of_zeros(changes, mask, layer):
    model = tiny(**changes)
    video, _ = inputs(poison=1e3 if mask is not None else 0.0)
    final, tapped = model.extract_with_layer(video, padding_mask=mask, layer=layer, silent_audio=True)
    silence = torch.zeros(len(LENGTHS), 104, NUM_FRAMES)
    equal(final, model.extract(video, padding_mask=mask), mask)
    equal(tapped, model.extract(video, silence, mask, layer), mask)
    assert (tapped - model.extract(video, padding_mask=mask, layer=layer)).abs().max() > 0.01


@VARIANTS
@MASKS
@LAYERS
@pytest.mark.parametrize(("media", "silent_audio"), [("v", False), ("va", True), ("va", False), ("a", True)])
@torch.inference_mode()
def test_otherwise_both_come_from_one_pass(changes, mask, layer, media, silent_audio):
    model = tiny(**changes)
    video, audio = inputs()
    given = {"video": video if "v" in media else None, "audio": audio if "a" in media else None}
    calls = []
    for block in model.encoder.layers:
        block.register_forward_hook(lambda *_: calls.append(1))
    final, tapped = model.extract_with_layer(
        **given, padding_mask=mask, layer=layer, silent_audio=silent_audio
    )
    assert len(calls) == 2
    equal(final, model.extract(**given, padding_mask=mask), mask)
    equal(tapped, model.extract(**given, padding_mask=mask, layer=layer), mask)


@pytest.mark.parametrize("silent_audio", [True, False])
def test_the_front_end_runs_once_and_only_the_final_output_has_a_gradient(silent_audio):
    model = tiny()
    video, _ = inputs()
    calls, layers = [], []
    model.feature_extractor_video.register_forward_hook(lambda *_: calls.append(1))
    for block in model.encoder.layers:
        block.register_forward_hook(lambda *_: layers.append(1))
    final, tapped = model.extract_with_layer(video, layer=1, silent_audio=silent_audio)
    assert len(calls) == 1
    assert len(layers) == (3 if silent_audio else 2)
    assert final.requires_grad
    assert not tapped.requires_grad
    final.sum().backward()
    assert model.feature_extractor_video.proj.weight.grad is not None
    assert model.feature_extractor_audio.proj.bias.grad is None


def test_under_autocast():
    model = tiny()
    video, _ = inputs()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        final, tapped = model.extract_with_layer(video, layer=2, silent_audio=True)
        equal(tapped, model.extract(video, torch.zeros(len(LENGTHS), 104, NUM_FRAMES), layer=2), None)
        equal(final, model.extract(video), None)


def test_errors_are_those_of_extract():
    model = tiny()
    video, _ = inputs()
    with pytest.raises(ValueError, match="layer: found 3, expected None or 0 to 2"):
        model.extract_with_layer(video, layer=3, silent_audio=True)
    with pytest.raises(ValueError, match="neither video nor audio"):
        model.extract_with_layer(layer=1, silent_audio=True)
