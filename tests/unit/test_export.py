"""Exports are read back by the libraries they are for."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from llama_avsr.checkpoints import export
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.commands import export as export_command
from llama_avsr.model.lora import activate
from llama_avsr.options import to_dict
from tests import models


@pytest.fixture
def made(tmp_path: Path) -> dict[str, str]:
    return models.folders(tmp_path / "models")


def written(made: dict[str, str], folder: Path, **more: object) -> torch.nn.Module:
    model = models.build(made, "audio", **more)
    options = models.options(made, "audio", **more)
    checkpoint.write(folder, checkpoint.saved_state(model), to_dict(options))
    return model


IDS = torch.tensor([[0, 5, 9, 3, 11, 2]])


@torch.no_grad()
def test_adapters_are_read_by_peft(made: dict[str, str], tmp_path: Path) -> None:
    model = written(made, tmp_path / "average", lora_targets=("all-linear",))
    export.export_adapters(tmp_path / "average", tmp_path / "adapters")
    names = sorted(path.name for path in (tmp_path / "adapters").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    base = AutoModelForCausalLM.from_pretrained(made["llm"])
    size = base.get_input_embeddings().weight.shape[0]
    plain = base(IDS).logits
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapters").eval()
    expected = model.llm(IDS).logits[..., :size]
    torch.testing.assert_close(adapted(IDS).logits, expected)
    assert (expected - plain).abs().max() > 1e-2


@torch.no_grad()
def test_adapters_of_tasks_are_read_by_peft(made: dict[str, str], tmp_path: Path) -> None:
    """Summed, as the model uses them."""
    tasks = {"tasks": ("asr", "vsr"), "lora_sharing": "both"}
    model = models.build(made, "audiovisual", **tasks)
    options = models.options(made, "audiovisual", **tasks)
    checkpoint.write(tmp_path / "average", checkpoint.saved_state(model), to_dict(options))
    export.export_adapters(tmp_path / "average", tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(made["llm"])
    size = base.get_input_embeddings().weight.shape[0]
    adapted = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    for view in model.views.values():
        adapted.load_adapter(tmp_path / "out" / view.task, view.task)
        adapted.base_model.set_adapter(list(view.adapters))
        activate(model.llm, view.adapters)
        torch.testing.assert_close(adapted(IDS).logits, model.llm(IDS).logits[..., :size])
    with pytest.raises(ValueError, match=r"adapters for each of asr, vsr, .* export the adapters instead"):
        export.export_merged(tmp_path / "average", tmp_path / "merged")


@torch.no_grad()
def test_merged_folder_is_a_plain_llm(made: dict[str, str], tmp_path: Path) -> None:
    model = written(made, tmp_path / "average", lora_targets=("all-linear",))
    export.export_merged(tmp_path / "average", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(merged(IDS).logits, model.llm(IDS).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.convert_tokens_to_ids("<audio>") == model.vocabulary.id_of("<audio>")


@torch.no_grad()
def test_merged_weights_are_rounded_as_the_models_were(made: dict[str, str], tmp_path: Path) -> None:
    model = written(made, tmp_path / "average", pretrained_rounding="bfloat16")
    expected = model.llm(IDS).logits
    export.export_merged(tmp_path / "average", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(merged(IDS).logits, expected)
    written(made, tmp_path / "other")
    export.export_merged(tmp_path / "other", tmp_path / "unrounded")
    unrounded = AutoModelForCausalLM.from_pretrained(tmp_path / "unrounded")(IDS).logits
    assert (unrounded - expected).abs().max() > 1e-2


@torch.no_grad()
def test_rotary_frequencies_that_a_plain_folder_cannot_hold_are_told(
    made: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(made, tmp_path / "average", rotary_rounding="bfloat16")
    export.export_merged(tmp_path / "average", tmp_path / "merged")
    assert "rotary frequencies" in caplog.text


def test_the_command_lists_what_it_wrote(
    made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(made, tmp_path / "average")
    export_command.main(["adapters", str(tmp_path / "average"), str(tmp_path / "out")])
    assert str(tmp_path / "out" / "adapter_model.safetensors") in capsys.readouterr().out
    with pytest.raises(ValueError, match="There are: adapters, merge"):
        export_command.main(["merged", str(tmp_path / "average"), str(tmp_path / "out")])


def test_nothing_to_export(made: dict[str, str], tmp_path: Path) -> None:
    written(made, tmp_path / "average", add_PETF_LLM=None, lora_rank=None, alpha=None)
    with pytest.raises(ValueError, match="trained without adapters; there is nothing to export"):
        export.export_adapters(tmp_path / "average", tmp_path / "adapters")
    with pytest.raises(ValueError, match="found no such folder"):
        export_command.main(["adapters", str(tmp_path / "none"), str(tmp_path / "out")])
