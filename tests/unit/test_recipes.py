"""Every recipe resolves, holds the published values as written down here, and sets nothing in vain."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from torch.optim.lr_scheduler import LambdaLR

from llama_avsr import cli
from llama_avsr.commands import pretrain_video
from llama_avsr.options import Options
from llama_avsr.training.run import optimisation_of

ROOT = Path(__file__).parents[2]
LIPS = "grid/lips.yaml"
"""Of `pretrain_video.py`, which has options of its own."""
FILES = {str(path.relative_to(ROOT / "recipes")): path for path in (ROOT / "recipes").rglob("*.yaml")}
RECIPES = {name: path for name, path in FILES.items() if name != LIPS}
PUBLISHED = [name for name in RECIPES if not name.startswith(("demo/", "grid/"))]
DOCS = ROOT / "docs" / "recipes.md"
USERS = {
    "root_dir",
    "noise_file",
    "pretrain_avhubert_enc_audio_path",
    "pretrain_avhubert_enc_video_path",
    "pretrain_avhubert_enc_audiovisual_path",
    "speech_rate_predictor",
    "pretrained_model_path",
    "ckpt_path",
    "exp_dir",
    "output_dir",
    "project_wandb",
    "slurm_job_id",
    "gpus",
    "num_nodes",
    "num_workers",
}
"""What differs from user to user: the command line brings it."""

STACK = {
    "quantization": "none",
    "compression_mode": "stack",
    "projector_type": "mlp",
    "intermediate_size": 2048,
    "llm_model": "meta-llama/Meta-Llama-3.1-8B",
    "lora_targets": ("q_proj", "v_proj"),
    "lora_dropout": 0.0,
    "encoder_unfreeze_step": None,
    "lr_schedule": "cosine",
    "warmup_epochs": 0.0,
    "warmup_steps": None,
    "max_epochs": 10,
    "max_steps": None,
    "weight_decay": 0.1,
    "adam_betas": (0.9, 0.98),
    "gradient_clip": 10.0,
    "loss_reduction": "token",
    "accumulate_grad_batches": 1,
    "num_beams": 15,
    "max_dec_tokens": 32,
    "length_penalty": 1.0,
    "test_file": ("lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv",),
}
HEARS = {
    "audio_encoder_name": "openai/whisper-medium.en",
    "train_snr_levels": (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, "clean"),
}
SEES = {"video_augmentation": "time-mask", "modality_dropout": 0.0}
ASR = HEARS | {
    "modality": "audio",
    "downsample_ratio_audio": 3,
    "max_frames_audio": 1000,
    "lr": 1e-3,
    "prompt_audio": "Transcribe speech to text.",
}
VSR = SEES | {
    "modality": "video",
    "use_lora_avhubert": True,
    "unfrozen_modules": ("peft_llm", "lora_avhubert"),
    "downsample_ratio_video": 3,
    "max_frames_video": 1500,
    "lr": 5e-4,
    "prompt_video": "Transcribe video to text.",
}
AVSR = (
    HEARS
    | SEES
    | {
        "modality": "audiovisual",
        "use_lora_avhubert": False,
        "downsample_ratio_audio": 4,
        "downsample_ratio_video": 2,
        "max_frames_audiovisual": 1000,
        "lr": 1e-3,
        "prompt_audiovisual": "Transcribe speech and video to text.",
    }
)
VSP_LLM = {
    "modality": "video",
    "task": "translation",
    "instruction_recognize": "Recognize this speech in {spoken}. Input : ",
    "instruction_translate": "Translate this {spoken} speech to {written}. Input : ",
    "compression_mode": "units",
    "units_centroids": None,
    "projector_type": "linear",
    "llm_model": "meta-llama/Llama-2-7b-hf",
    "quantization": "nf4",
    "lora_dropout": 0.05,
    "lora_targets": ("q_proj", "k_proj", "v_proj"),
    "video_augmentation": "flip",
    "max_frames_video": 500,
    "max_clips": 1,
    "accumulate_grad_batches": 8,
    "loss_reduction": "utterance",
    "label_smoothing": 0.0,
    "lr": 5e-4,
    "lr_schedule": "tri-stage",
    "warmup_steps": 10_000,
    "hold_steps": 0,
    "decay_steps": 20_000,
    "init_lr_scale": 0.01,
    "final_lr_scale": 0.05,
    "max_steps": 30_000,
    "adam_betas": (0.9, 0.98),
    "adam_eps": 1e-8,
    "weight_decay": 0.0,
    "gradient_clip": 0.0,
    "num_beams": 20,
    "max_dec_tokens": 30,
    "length_penalty": 0.0,
}
OMNI_AVSR = (
    STACK
    | HEARS
    | SEES
    | {
        "modality": "audiovisual",
        "tasks": ("asr", "vsr", "avsr"),
        "task_weights": (1.0, 1.5, 1.0),
        "rates_per_step": "drawn",
        "downsample_ratios_audio": (4, 16),
        "downsample_ratios_video": (2, 5),
        "compression_mode": "avg-pooling",
        "llm_model": "meta-llama/Llama-3.2-1B",
        "use_lora_avhubert": True,
        "max_frames_audiovisual": 1500,
        "max_epochs": 8,
        "lr": 1e-3,
        "prompt_audio": "Transcribe speech to text.",
        "prompt_video": "Transcribe video to text.",
        "prompt_audiovisual": "Transcribe speech and video to text.",
        "train_file": "lrs3_train_transcript_lengths_seg16s_LLM_lowercase_greater25.csv",
    }
)
MMS_LLAMA = {
    "modality": "audiovisual",
    "task": "fused",
    "instruction_fused": "Recognize this speech in {spoken}. Input : ",
    "audio_encoder_name": "openai/whisper-medium.en",
    "whisper_padding": "30s",
    "whisper_waveform": "as-read",
    "use_lora_avhubert": False,
    "compression_mode": "qformer",
    "qformer_queries_per_second": 3,
    "qformer_max_seconds": 20.0,
    "qformer_layers": 2,
    "qformer_width": 1024,
    "qformer_heads": 16,
    "qformer_ffn_width": 4096,
    "qformer_dropout": 0.1,
    "projector_type": "two-linear",
    "intermediate_size": 2048,
    "llm_model": "meta-llama/Llama-3.2-3B",
    "quantization": "nf4",
    "lora_dropout": 0.05,
    "lora_targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "video_augmentation": "flip",
    "train_snr_levels": (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, "clean", "clean"),
    "max_frames_audiovisual": 1000,
    "lr": 1e-4,
    "lr_schedule": "floored-cosine",
    "warmup_steps": 500,
    "init_lr_scale": 0.1,
    "final_lr_scale": 0.1,
    "max_steps": 30_000,
    "max_epochs": 7,
    "adam_betas": (0.9, 0.98),
    "gradient_clip": 1.0,
    "num_beams": 5,
    "max_dec_tokens": 100,
}
FINE_TUNED = {
    "encoder_unfreeze_step": 18_000,
    "encoder_layer_drop": 0.1,
    "encoder_activation_dropout": 0.1,
    "encoder_dropout": 0.0,
    "encoder_attention_dropout": 0.0,
}
TRAIN_FILE = "{}_transcript_lengths_seg16s_LLM_lowercase_greater25.csv"
HOURS = {"30h": "lrs3_trainval", "433h": "lrs3_train", "1756h": "lrs3vox2_train"}
PAPERS = {
    f"llama_avsr/{task}_{hours}.yaml": STACK | own | {"train_file": TRAIN_FILE.format(train)}
    for task, own in (("asr", ASR), ("vsr", VSR), ("avsr", AVSR))
    for hours, train in HOURS.items()
} | {
    "vsp_llm/frozen.yaml": VSP_LLM | {"encoder_unfreeze_step": None, "encoder_layer_drop": None},
    "vsp_llm/finetuned.yaml": VSP_LLM | FINE_TUNED,
    **{f"mms_llama/{hours}.yaml": MMS_LLAMA for hours in ("433h", "1759h")},
    **{f"omni_avsr/{name}.yaml": OMNI_AVSR | {"lora_sharing": name} for name in ("shared", "task", "both")},
}
ADAPTERS = {
    "llama_avsr": (64, 8 / 64, ("peft_llm",)),
    "omni_avsr": (128, 4 / 32, ("peft_llm",)),
    "vsp_llm": (16, 32 / 16, ("peft_llm",)),
    "mms_llama": (16, 32 / 16, ("peft_llm",)),
}
"""Rank in an LLM 4096 wide, scale, what is trained besides the projectors at first."""


def words_for(path: Path) -> list[str]:
    """The command line that a user of this recipe cannot do without."""
    recipe = yaml.safe_load(path.read_text())
    words = ["--config", str(path), "--root-dir", "data"]
    if recipe["modality"] != "video":
        words += ["--noise-file", "babble.wav"]
    if recipe["modality"] != "audio" and "pretrain_avhubert_enc_video_path" not in recipe:
        words += ["--pretrain-avhubert-enc-video-path", "large_vox_iter5.pt"]
    if recipe.get("compression_mode") == "qformer":
        words += ["--speech-rate-predictor", "checkpoint.pt"]
    return words


def parse(words: list[str]) -> cli.Parsed:
    return cli.parse(words, program="train")


def commands(text: str) -> list[list[str]]:
    """The words after `train_LLM.py` of each command in `text`, continued lines joined."""
    joined = re.sub(r"\\\n#?\s*", "", text)
    return [shlex.split(found) for found in re.findall(r"python train_LLM\.py (.*)", joined)]


def from_root(words: list[str], monkeypatch) -> cli.Parsed:
    monkeypatch.chdir(ROOT)
    return parse(words)


def test_these_are_the_recipes():
    assert set(PUBLISHED) == set(PAPERS)
    assert {name for name in RECIPES if name not in PUBLISHED} == {
        "demo/asr.yaml",
        "demo/vsr.yaml",
        "demo/avsr.yaml",
        "demo/vsp.yaml",
        "demo/omni.yaml",
        "grid/asr.yaml",
        "grid/vsr.yaml",
        "grid/avsr.yaml",
    }


def test_the_recipe_of_an_encoder_of_lips_resolves_and_sets_nothing_in_vain() -> None:
    parsed = cli.parse(["--config", str(FILES[LIPS]), "--root-dir", "data"], pretrain_video.PROGRAM)
    assert parsed.notes == ()
    assert parsed.options.target.targets == ("words", "characters")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resolves_and_sets_nothing_in_vain(name):
    parsed = parse(words_for(RECIPES[name]))
    assert parsed.notes == ()
    set_by_recipe = {key for key, source in parsed.sources.items() if source != cli.COMMAND_LINE}
    assert set_by_recipe >= {"modality", "llm_model", "train_file", "val_file", "test_file", "lr"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_prints_as_a_config_that_reads_back(tmp_path, capsys, name):
    words = words_for(RECIPES[name])
    with pytest.raises(SystemExit) as leaving:
        parse([*words, "--print-config"])
    assert leaving.value.code == 0
    printed = tmp_path / "printed" / "config.yaml"
    printed.parent.mkdir()
    printed.write_text(capsys.readouterr().out)
    assert parse(["--config", str(printed)]).options == parse(words).options


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_holds_the_published_values(name):
    options = parse(words_for(RECIPES[name])).options
    expected = PAPERS[name]
    assert {key: options[key] for key in expected} == expected
    rank, scale, trained = ADAPTERS[name.split("/")[0]]
    assert (options.lora.rank(4096), options.lora.scale) == (rank, scale)
    late = ("encoder",) if options.training.encoder_unfreeze_step is not None else ()
    in_encoder = ("lora_avhubert",) if options["use_lora_avhubert"] else ()
    assert options.trained_modules == (*trained, *in_encoder, *late)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_differs_from_user_to_user_is_left_to_the_command_line(name):
    parsed = parse(words_for(RECIPES[name]))
    by_recipe = {key for key, source in parsed.sources.items() if source != cli.COMMAND_LINE}
    assert not by_recipe & USERS


def test_runs_have_names_of_their_own():
    names = [parse(words_for(RECIPES[name])).options.run_name for name in PUBLISHED]
    assert len(set(names)) == len(names)


def batches_per_epoch(options: Options, hours: float = 433, gpus: int = 1) -> int:
    clips = 150_000 // gpus
    return clips if options.data.max_clips == 1 else int(hours * 3600 * 25 / options.train_max_frames / gpus)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_the_learning_rate_can_be_planned(name, gpus):
    options = parse(words_for(RECIPES[name])).options
    training, plan = options.training, optimisation_of(options)
    per_epoch = batches_per_epoch(options, gpus=gpus) // training.accumulate_grad_batches
    total = min(per_epoch * training.max_epochs, training.max_steps or 10**9)
    curve = plan.schedule(per_epoch, total)
    optimiser = torch.optim.AdamW([torch.zeros(1)], lr=plan.lr)
    LambdaLR(optimiser, curve)
    first, last = optimiser.param_groups[0]["lr"], plan.lr * curve(total - 1)
    if training.lr_schedule == "cosine":
        assert first == pytest.approx(plan.lr, rel=1e-3)
        assert last == pytest.approx(0)
    elif training.lr_schedule == "floored-cosine":
        assert (first, last) == pytest.approx((1e-5, 1e-5), rel=1e-3)
        assert plan.lr * curve(500) == pytest.approx(1e-4)
    else:
        assert total == 30_000
        assert first == pytest.approx(5e-6)
        assert plan.lr * curve(10_000) == pytest.approx(5e-4)
        assert last == pytest.approx(2.5e-5, rel=1e-3)
        # Where the fine-tuned encoder joins in: 8000 of 20000 steps of the fall.
        assert plan.lr * curve(18_000) == pytest.approx(5e-4 * 0.05**0.4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_command_at_the_top_of_a_recipe_works(monkeypatch, name):
    [words] = commands(RECIPES[name].read_text())
    assert words[:2] == ["--config", f"recipes/{name}"]
    assert from_root(words, monkeypatch).notes == ()


def test_the_documentation_names_every_recipe_and_its_commands_work(monkeypatch):
    text = DOCS.read_text()
    assert {name for name in PUBLISHED if f"`{name}`" not in text} == set()
    found = commands(text)
    assert len(found) >= 3
    for words in found:
        from_root(words, monkeypatch)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.endswith("_433h.yaml")])
def test_the_published_small_variant_resolves(monkeypatch, name):
    [flags] = re.findall(r"% WER\): (.*\\\n.*)", RECIPES[name].read_text())
    words = shlex.split(re.sub(r"\\\n#?\s*", "", flags))
    options = parse([*words_for(RECIPES[name]), *words]).options
    assert options.llm.llm_model == "meta-llama/Llama-3.2-1B"
    assert options.compression.compression_mode == "avg-pooling"
    ratios = (options.compression.downsample_ratio_audio, options.compression.downsample_ratio_video)
    heard, seen = {"audio": (4, None), "video": (None, 2), "audiovisual": (4, 2)}[options.goal.modality]
    assert heard in (None, ratios[0])
    assert seen in (None, ratios[1])
