"""Speech tokens and the embeddings of words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datamodules.batch import Padded
from llama_avsr.model import ctc
from llama_avsr.model.ctc import ctc_loss
from llama_avsr.options import Options, problems
from llama_avsr.training.run import optimisation_of
from tests import models

BLANK = 0


def table(scale: float = 1.0) -> torch.Tensor:
    return torch.randn(9, 64, generator=torch.Generator().manual_seed(0)) * scale


def spoken(*ids: int, scale: float = 1.0) -> torch.Tensor:
    """Speech tokens that are the embeddings of these words."""
    return table(scale)[torch.tensor(ids)]


def test_tokens_that_are_the_words_cost_little_whatever_the_embeddings_scale() -> None:
    for scale in (0.01, 1.0, 5.0):
        tokens = Padded.from_list([spoken(0, 3, 3, 0, 5, scale=scale)])
        right = ctc_loss(tokens, [torch.tensor([3, 5])], table(scale), BLANK)
        wrong = ctc_loss(tokens, [torch.tensor([5, 3])], table(scale), BLANK)
        assert right.item() < 0.1
        assert wrong.item() > 5


def test_padding_does_not_count_and_neither_do_other_clips() -> None:
    clips, targets = [spoken(0, 3, 5, 1), spoken(2, 0)], [torch.tensor([3, 5]), torch.tensor([2])]
    both = Padded.from_list(clips)
    both.values[~both.mask] = float("nan")
    both.values.requires_grad_()
    together = ctc_loss(both, targets, table(), BLANK)
    alone = [
        ctc_loss(Padded.from_list([clip]), [target], table(), BLANK)
        for clip, target in zip(clips, targets, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    together.sum().backward()
    assert torch.isfinite(both.values.grad).all()


def test_a_clip_too_short_for_its_words_costs_nothing() -> None:
    tokens = Padded(torch.zeros(2, 3, 64), torch.tensor([1, 0]))
    assert ctc_loss(tokens, [torch.tensor([3, 5]), torch.tensor([2])], table(), BLANK).tolist() == [0, 0]


@pytest.mark.parametrize("rows_at_once", [1, 2, 4, 100])
def test_the_gradient_is_that_of_the_whole_vocabulary(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctc, "ROWS_AT_ONCE", rows_at_once)
    tokens = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    lengths, targets = torch.tensor([4, 3]), [torch.tensor([3, 5]), torch.tensor([5])]
    found = ctc_loss(Padded(tokens, lengths), targets, table(), BLANK).sum()
    (gradient,) = torch.autograd.grad(found, tokens)
    logits = tokens @ table().T * (10 / (64 * table().var()))
    expected = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.cat(targets),
        lengths,
        torch.tensor([2, 1]),
        reduction="sum",
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, tokens)[0], atol=1e-5, rtol=1e-5)


def test_while_it_aligns_the_llm_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build(models.folders(tmp_path), "audiovisual", ctc_weight=0.5)
    batch = models.joined(models.clips(model, "transcribe speech and video to text .")[:2])
    whole = model.loss(batch)
    model.aligning = True

    def not_now(*args: object, **kwargs: object) -> None:
        raise AssertionError("the LLM ran")

    monkeypatch.setattr(model.llm, "forward", not_now)
    alone = model.loss(batch)
    torch.testing.assert_close(alone.added["ctc_loss"], whole.added["ctc_loss"])
    assert (alone.weight, alone.num_tokens) == (whole.weight, whole.num_tokens)
    alone.added["ctc_loss"].backward()
    assert all(p.grad.abs().sum() > 0 for n, p in model.projectors.named_parameters() if n.endswith("weight"))


def test_the_learning_rate_begins_again_when_the_llm_joins_in() -> None:
    options = Options().updated({"ctc_weight": 0.3, "ctc_epochs": 2, "max_epochs": 5, "warmup_epochs": 1})
    factor = optimisation_of(options).schedule(10, 50)
    assert [factor(step) for step in (0, 20)] == [factor(0)] * 2
    assert factor(9) == pytest.approx(1, abs=0.11)
    assert factor(19) < 0.05
    assert factor(30) == pytest.approx(1, abs=0.11)
    assert factor(49) < 0.05


def test_epochs_without_the_llm_leave_some_to_it() -> None:
    asked = {"modality": "audio", "llm_model": "llm", "audio_encoder_name": "whisper", "ctc_weight": 0.3}
    options = Options().updated({**asked, "ctc_epochs": 9, "max_epochs": 10, "num_average_epochs": 2})
    (fault,) = problems(options, "train")
    assert "--ctc-epochs 9 leaves the LLM 1 of --max-epochs 10" in fault
