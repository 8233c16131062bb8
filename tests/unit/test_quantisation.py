"""What can go wrong with --quantization, and what it leaves alone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import released
from llama_avsr.model import devices as runtime
from llama_avsr.model import quantisation
from llama_avsr.model.freezing import unfreeze
from llama_avsr.model.llm import load_llm
from llama_avsr.model.quantisation import check_quantisation, is_quantised, loading_arguments
from llama_avsr.model.summary import summarise
from llama_avsr.options import Options, merge_with_checkpoint, to_dict
from llama_avsr.options.checks import problems
from tests import models, tiny
from tests.golden.llama_avsr_releases import release

CPU = torch.device("cpu")
MODES = ("8bit", "nf4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = Path(tmp_path_factory.mktemp("models"))
    folders = {"whisper": tiny.whisper(root / "whisper"), "av_hubert": "unused"}
    return {
        **folders,
        "llm": tiny.llm(root / "llm", width=64),
        "tied": tiny.llm(root / "t", tied=True, width=64),
    }


@pytest.mark.parametrize("package", ["bitsandbytes", "accelerate"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(
        ValueError, match=rf"--quantization nf4 needs {package}, .*llama-avsr\[quantization\]"
    ):
        check_quantisation("nf4", CPU)
    check_quantisation("none", CPU)


def test_a_machine_that_cannot_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(mode: str, device: torch.device) -> None:
        raise RuntimeError("CUDA binary not found\nand twenty lines more")

    monkeypatch.setattr(quantisation, "_try_layer", fail)
    with pytest.raises(
        ValueError, match=r"--quantization 8bit does not run here on cpu \(CUDA binary not fo"
    ):
        check_quantisation("8bit", CPU)
    with pytest.raises(ValueError, match="--quantization 8bit does not run here"):
        runtime.check_hardware(Options().updated({"accelerator": "cpu", "quantization": "8bit"}))


@pytest.mark.parametrize("mode", MODES)
def test_checking_changes_no_random_numbers(mode: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_quantisation(mode, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_contradicting_flags() -> None:
    def faults(**more: object) -> str:
        return "\n".join(problems(Options().updated({"quantization": "nf4", **more}), "train"))

    assert faults() == ""
    assert "--unfrozen_modules llm would train weights that --quantization nf4 rounds" in faults(
        unfrozen_modules=("llm",)
    )
    assert "--pretrained-rounding bfloat16 and --quantization nf4 both round" in faults(
        pretrained_rounding="bfloat16"
    )
    assert faults(unfrozen_modules=("peft_llm",), add_PETF_LLM="lora", lora_rank=4) == ""


def test_evaluation_takes_what_training_took() -> None:
    trained = {"modality": "audio", "llm_model": "llama", "audio_encoder_name": "whisper"}
    asked = {"pretrained_model_path": Path("run"), "root_dir": Path("data")}

    def merged(saved: dict[str, object], **given: str) -> str:
        options, explicit = Options().updated({**asked, **given}), [*asked, *given]
        saved = to_dict(Options().updated({**trained, **saved}))
        return merge_with_checkpoint(options, explicit, saved).llm.quantization

    assert merged({"quantization": "nf4"}) == "nf4"
    assert merged({}) == "none"
    with pytest.raises(ValueError, match="--quantization 8bit contradicts the checkpoint, trained with nf4"):
        merged({"quantization": "nf4"}, quantization="8bit")


@pytest.mark.parametrize("mode", MODES)
def test_quantised_weights_cannot_be_trained_by_name(made: dict[str, str], mode: str) -> None:
    model = models.build(made, "audio", quantization=mode)
    with pytest.raises(
        ValueError, match=r"--unfrozen_modules llm\.model\.layers\.1 .* --quantization rounds"
    ):
        unfreeze(model, ["llm.model.layers.1"])
    unfreeze(model, ["llm.model.norm"])
    assert model.llm.model.norm.weight.requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_a_trained_llm_do_not_fit(made: dict[str, str], mode: str) -> None:
    trained = models.build(made, "audio", unfrozen_modules=("llm",))
    state = checkpoint.saved_state(trained)
    with pytest.raises(
        ValueError, match=r"trained weights of the LLM itself .* --quantization cannot take in"
    ):
        checkpoint.load_saved_state(models.build(made, "audio", quantization=mode), state)


RELEASE = release("a_whisper_stack3_llama31")


def test_a_published_checkpoint_is_not_quantised() -> None:
    given = {
        "quantization": "nf4",
        "modality": "audio",
        "audio_encoder_name": "whisper",
        "llm_model": "llama",
        "root_dir": Path("data"),
        "pretrained_model_path": RELEASE,
    }
    with pytest.raises(ValueError, match="--quantization nf4: a published checkpoint brings the LLM's own"):
        released.release_options(Options().updated(given), list(given))


def test_an_llm_that_is_stored_in_few_bits(made: dict[str, str], tmp_path: Path) -> None:
    for path in Path(made["llm"]).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"--quantization nf4: --llm-model .* is stored in the form gptq"):
        load_llm(str(tmp_path), quantization="nf4")
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model.gguf").touch()
    with pytest.raises(ValueError, match=r"--llm-model .* is stored in the form gguf"):
        load_llm(str(tmp_path / "gguf"), quantization="8bit")


def test_widths_that_are_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a kernel that is right or wrong for a layer of 96 inputs, whatever this machine's is."""
    import bitsandbytes as bnb

    llm = nn.Sequential(bnb.nn.Linear4bit(96, 64, quant_type="nf4").to(CPU))
    right = bnb.functional.dequantize_4bit

    def flat(weight: torch.Tensor, state: object) -> torch.Tensor:
        shape, state.shape = state.shape, torch.Size((1, state.shape.numel()))
        values = right(weight, state).view(shape)
        state.shape = shape
        return values

    monkeypatch.setattr(bnb.functional, "dequantize_4bit", flat)
    quantisation.settle(llm)
    monkeypatch.setattr(bnb.functional, "dequantize_4bit", lambda w, s: flat(w, s) * (1 + (s.shape[0] > 1)))
    with pytest.raises(ValueError, match=r"misreads layers whose width is no multiple of 64 \(0: 96\)"):
        quantisation.settle(llm)


@pytest.mark.parametrize("mode", MODES)
def test_precisions(made: dict[str, str], mode: str) -> None:
    model = models.build_model(models.options(made, "audio", quantization=mode), torch.bfloat16)
    kinds = dict(model.llm.named_parameters())
    assert {p.dtype for name, p in kinds.items() if "lora_" in name} == {torch.float32}
    others = {p.dtype for name, p in kinds.items() if "lora_" not in name and not is_quantised(p)}
    assert others == {torch.bfloat16}
    layers = [m for m in model.llm.modules() if type(m).__name__ == "Linear4bit" and not hasattr(m, "lora_A")]
    assert {layer.compute_dtype for layer in layers} == ({torch.bfloat16} if mode == "nf4" else set())
    assert all(layer.weight.quant_state.nested for layer in layers)
    batch = models.joined(models.clips(model, "transcribe speech to text ."))
    assert model.loss(batch).cross_entropy.isfinite()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llm", "tied"])
def test_rows_are_added_to_embeddings_that_stay_whole(made: dict[str, str], mode: str, name: str) -> None:
    folders = {**made, "llm": made[name]}
    plain, model = (models.build(folders, "audio", quantization=q) for q in ("none", mode))
    expected = checkpoint.saved_state(plain)
    state = checkpoint.saved_state(model)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)
    tied = model.llm.get_output_embeddings().weight is model.llm.get_input_embeddings().weight
    assert tied == (name == "tied")


def test_the_table_counts_weights_and_scales(made: dict[str, str]) -> None:
    rows = {}
    for mode in ("none", *MODES):
        model = models.build_model(models.options(made, "audio", quantization=mode))
        (rows[mode],) = summarise(model.llm, {"LLM": model.llm}).rows
    plain = load_llm(made["llm"])
    layers = [m for m in plain.modules() if isinstance(m, nn.Linear) and m is not plain.lm_head]
    weights, outputs = sum(m.weight.numel() for m in layers), sum(m.out_features for m in layers)
    for row in rows.values():
        assert (row.frozen, row.trained) == (rows["none"].frozen, rows["none"].trained)
        assert row.trained_bytes == rows["none"].trained_bytes
    assert rows["none"].num_bytes - rows["8bit"].num_bytes == 3 * weights - 4 * outputs
    saved = rows["none"].num_bytes - rows["nf4"].num_bytes
    tables = len(layers) * 4 * (16 + 256 + 2)  # the values of both codes, and an offset
    assert 3.5 * weights - weights / 64 - tables <= saved <= 3.5 * weights - weights / 64
    assert rows["nf4"].dtypes[0] in ("float32", "uint8")


@pytest.mark.parametrize(
    ("environment", "index"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "3"}, 3),
        ({"SLURM_LOCALID": "2"}, 2),
        ({"LOCAL_RANK": "1", "SLURM_LOCALID": "0"}, 1),
    ],
)
def test_each_process_quantises_on_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], index: int
) -> None:
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = Options().updated({"accelerator": "auto"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.device_of(options) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = runtime.device_of(options)
    assert device == torch.device("cuda", index)
    assert loading_arguments("nf4", torch.bfloat16, device)["device_map"] == {"": device}
    assert runtime.device_of(options.updated({"accelerator": "cpu"})) == CPU
