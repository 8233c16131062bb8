import logging

import pytest

from llama_avsr.options import MODEL_FIELDS, defaults, merge_with_checkpoint, to_dict

TRAINED = {
    "modality": "audio",
    "llm_model": "meta-llama/Llama-3.2-1B",
    "audio_encoder_name": "openai/whisper-base.en",
    "add_PETF_LLM": "lora",
    "reduction_lora": 64,
    "alpha": 8,
    "downsample_ratio_audio": 4,
    "unfrozen_modules": ("peft_llm",),
    "lr": 2e-3,
    "test_file": "of_training.csv",
}
VISUAL = {"modality": "video", "llm_model": "l", "pretrain_avhubert_enc_video_path": "a.pt"}
SAVED = to_dict(defaults("train").updated(TRAINED))
ASKED = {"pretrained_model_path": "m", "root_dir": "d"}


def merged(values, saved=SAVED):
    values = ASKED | values
    return merge_with_checkpoint(defaults("eval").updated(values), values, saved)


def test_the_model_comes_from_the_checkpoint_and_the_rest_from_the_flags():
    options = merged({"num_beams": 3})
    for name in MODEL_FIELDS:
        assert options[name] == TRAINED.get(name, defaults("train")[name]), name
    assert options["num_beams"] == 3
    assert options["test_file"] == defaults("eval")["test_file"]
    assert options["lr"] == defaults("eval")["lr"]


def test_flags_that_agree_pass():
    assert merged({"downsample_ratio_audio": 4, "alpha": 8.0, "modality": "audio"}) == merged({})


def test_a_flag_that_contradicts_names_both_values():
    with pytest.raises(ValueError, match="--downsample-ratio-audio") as error:
        merged({"downsample_ratio_audio": 3, "prompt_audio": "Write it down."})
    ratio, prompt = str(error.value).splitlines()
    assert ratio == (
        "--downsample-ratio-audio 3 contradicts the checkpoint, trained with 4: leave the flag out"
    )
    assert "'Write it down.'" in prompt
    assert "'Transcribe speech to text.'" in prompt


def test_a_lora_flag_that_the_model_lacks_contradicts():
    with pytest.raises(ValueError, match="--lora-rank 16 contradicts the checkpoint, trained with nothing"):
        merged({"lora_rank": 16})


@pytest.mark.parametrize(
    ("given", "trained", "agree"),
    [
        ("/data/llms/Llama-3.2-1B", "meta-llama/Llama-3.2-1B", True),
        ("mirror/Llama-3.2-1B", "meta-llama/Llama-3.2-1B", True),
        ("./other", "meta-llama/Llama-3.2-1B", True),
        ("meta-llama/Llama-3.2-1B", "/data/llms/llama", True),
        ("meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.2-1B", False),
        ("gpt2", "distilgpt2", False),
    ],
)
def test_weights_may_lie_elsewhere_but_not_be_others(given, trained, agree, caplog):
    saved = to_dict(defaults("train").updated(TRAINED | {"llm_model": trained}))
    if not agree:
        with pytest.raises(ValueError, match=f"--llm-model {given} contradicts .* {trained}: .* folder"):
            merged({"llm_model": given}, saved)
        return
    with caplog.at_level(logging.INFO):
        assert merged({"llm_model": given}, saved)["llm_model"] == given
    assert f"{given} in place of {trained}" in caplog.text


def test_a_path_of_weights_may_always_move():
    saved = to_dict(
        defaults("train").updated(
            {"modality": "video", "llm_model": "l", "pretrain_avhubert_enc_video_path": "a"}
        )
    )
    options = merged({"pretrain_avhubert_enc_video_path": "b"}, saved)
    assert str(options.encoder.pretrain_avhubert_enc_video_path) == "b"


def test_what_only_training_needs_is_noted_not_refused(caplog):
    with caplog.at_level(logging.INFO):
        options = merged({"unfrozen_modules": ("llm",), "lora_dropout": 0.5, "lr": 3.0})
    assert options["unfrozen_modules"] == ("peft_llm",)
    assert options["lora_dropout"] == 0.0
    assert "no effect in evaluation: --lora-dropout, --unfrozen_modules, --lr" in caplog.text


def test_what_the_model_does_not_use_is_noted_not_refused(caplog):
    unused = {
        "pretrain_avhubert_enc_video_path": "a.pt",
        "downsample_ratio_video": 2,
        "use_lora_avhubert": True,
    }
    with caplog.at_level(logging.INFO):
        assert merged(unused) == merged({})
    assert "not used with --modality audio: --pretrain-avhubert-enc-video-path" in caplog.text
    assert "--downsample-ratio-video, --use-lora-avhubert" in caplog.text


def test_the_result_is_checked():
    with pytest.raises(ValueError, match="--decode-snr-target -5 needs --noise-file"):
        merged({"decode_snr_target": -5})


def test_without_saved_options_the_flags_must_do():
    with pytest.raises(ValueError, match="--modality is missing"):
        merged({}, None)
    flags = {"modality": "audio", "llm_model": "l", "audio_encoder_name": "w"}
    assert merged(flags, None) == defaults("eval").updated(ASKED | flags)


def test_older_checkpoints_take_defaults():
    saved = {"task": {"modality": "audio"}, "llm": {"llm_model": "l"}, "encoder": {"audio_encoder_name": "w"}}
    assert merged({}, saved)["downsample_ratio_audio"] == 3


def test_units_may_be_found_for_a_model_whose_labels_brought_them():
    saved = to_dict(defaults("train").updated(VISUAL | {"compression_mode": "units"}))
    found = merged({"units_centroids": "c.npz"}, saved)
    assert found["units_centroids"].name == "c.npz"
    saved = to_dict(
        defaults("train").updated(VISUAL | {"compression_mode": "units", "units_centroids": "d.npz"})
    )
    # The file may lie elsewhere on another machine.
    assert merged({"units_centroids": "c.npz"}, saved)["units_centroids"].name == "c.npz"


def test_transcription_asks_for_no_data_set():
    values = {"pretrained_model_path": "m", "videos": ("a.mp4",)}
    options = merge_with_checkpoint(
        defaults("transcribe").updated(values), values, SAVED, program="transcribe"
    )
    assert options["root_dir"] is None
    assert options["modality"] == "audio"
    assert "transcribing" not in SAVED
