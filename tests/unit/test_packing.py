"""Clips behind each other without padding give what a padded batch gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from llama_avsr.model.attention import NAME, Packed
from llama_avsr.model.reading import read_packed, read_padded
from llama_avsr.model.speech_llm import SpeechLLM
from tests import models

PROMPT = "transcribe speech to text ."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


def gradients(model: SpeechLLM, **settings: object) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss of a batch of unequal clips, its gradients, and positions of padding."""
    for name, value in settings.items():
        setattr(model, name, value)
    model.zero_grad()
    loss = model.loss(models.joined(models.clips(model, PROMPT)))
    loss.cross_entropy.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.cross_entropy.detach(), found, loss.num_padded - loss.num_positions


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}, {"loss_reduction": "utterance"}])
def test_packed_equals_padded(made: dict[str, str], more: dict[str, object]) -> None:
    model = models.build(made, "audio", lora_targets=("all-linear",), **more).train()
    assert model.packs
    assert model.llm.config._attn_implementation == NAME
    expected, expected_gradients, padding = gradients(model, packs=False)
    found, found_gradients, none = gradients(model, packs=True)
    assert padding > 0
    assert none == 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_clips_do_not_see_each_other(made: dict[str, str]) -> None:
    llm = models.build(made, "audio").llm
    width = llm.config.hidden_size
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(length, width, generator=generator) for length in (5, 9, 1, 7)]
    wanted = [torch.tensor([1, 4]), torch.tensor([], dtype=torch.int64), torch.tensor([0]), torch.tensor([6])]
    with torch.no_grad():
        packed = read_packed(llm, clips, wanted)
        padded, _ = read_padded(llm, clips, wanted)
        torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
        clips[1] = 100 * clips[1]
        assert torch.equal(read_packed(llm, clips, wanted), packed)


def test_what_is_taken_apart_is_put_together_again() -> None:
    packed = Packed.of([3, 1, 4], torch.device("cpu"))
    states = torch.randn(1, 2, 8, 5)
    apart = packed.apart(states)
    assert apart.shape == (3, 2, 4, 5)
    torch.testing.assert_close(apart[2], states[0, :, 4:])
    torch.testing.assert_close(packed.together(apart.transpose(1, 2)), states.transpose(1, 2))


def test_a_window_shorter_than_a_clip_is_padded(
    made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build(made, "audio")
    limits = []

    def sees_little(llm: object, length: int) -> bool:
        limits.append(length)
        return length <= 20

    monkeypatch.setattr("llama_avsr.model.speech_llm.sees_everything", sees_little)
    loss = model.loss(models.joined(models.clips(model, PROMPT)))
    assert limits[0] > 20
    assert loss.num_padded > loss.num_positions
