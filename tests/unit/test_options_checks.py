import pytest

from llama_avsr.options import Options, check, missing, problems, unused

WHISPER = {"modality": "audio", "root_dir": "d", "llm_model": "l", "audio_encoder_name": "w"}
LORA = {"add_PETF_LLM": "lora", "lora_rank": 4}


def test_a_complete_command_passes():
    check(Options().updated(WHISPER | LORA), "train")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 8}, "--alpha 8 needs --reduction_lora or --lora-rank"),
        (LORA | {"reduction_lora": 64, "alpha": 8}, "--reduction_lora and --lora-rank both"),
        ({"reduction_lora": 64, "alpha": 8}, "--reduction_lora needs --add_PETF_LLM lora"),
        ({"add_PETF_LLM": "lora"}, "--add_PETF_LLM lora needs --reduction_lora and --alpha, or --lora-rank"),
        ({"add_PETF_LLM": "lora", "reduction_lora": 64}, "--reduction_lora 64 needs --alpha"),
        ({"unfrozen_modules": ("peft_llm",)}, "--unfrozen_modules peft_llm needs --add_PETF_LLM lora"),
        ({"unfrozen_modules": ("lora_avhubert",)}, "lora_avhubert needs --use-lora-avhubert"),
        ({"num_average_epochs": 8}, "--num-average-epochs 8 needs --num-check-save of at least 8, found 4"),
        ({"warmup_epochs": 10}, "--warmup-epochs 10 leaves nothing of --max-epochs 10"),
        ({"ckpt_path": "a", "pretrained_model_path": "b"}, "--ckpt-path resumes"),
        ({"decode_snr_target": 0}, "--decode-snr-target 0 needs --noise-file"),
        ({"nbest": 20}, "--nbest 20 needs at least as many --num-beams, found 15"),
        ({"logger": "wandb"}, "--logger wandb needs --project-wandb"),
        ({"accelerator": "cpu", "precision": "16"}, "--precision 16 needs a GPU"),
        (
            {"task": "translation", "instruction_translate": "to {bar}"},
            "--instruction-translate 'to {bar}': expected {spoken}",
        ),
        ({"warmup_epochs": 1, "warmup_steps": 5}, "keep one (--warmup-epochs 0"),
    ],
)
def test_contradictions(values, message):
    found = problems(Options().updated(WHISPER | values), "train")
    assert len(found) == 1
    assert message in found[0]


def test_evaluation_does_not_mind_training_flags():
    assert (
        problems(Options().updated({"num_average_epochs": 8, "unfrozen_modules": "peft_llm"}), "eval") == []
    )


@pytest.mark.parametrize(
    ("values", "lacking"),
    [
        ({"audio_encoder_name": None}, ["--audio-encoder-name"]),
        ({"modality": None}, ["--modality is missing"]),
        ({"llm_model": None, "root_dir": None}, ["--root-dir is missing", "--llm-model is missing"]),
        ({"audio_encoder_name": "av-hubert"}, ["--pretrain-avhubert-enc-audio-path"]),
        ({"audio_encoder_name": None, "pretrain_avhubert_enc_audio_path": "a.pt"}, []),
        ({"modality": "video"}, ["--pretrain-avhubert-enc-video-path"]),
        ({"modality": "audiovisual"}, ["--pretrain-avhubert-enc-video-path"]),
        ({"modality": "audiovisual", "audio_encoder_name": None}, ["--audio-encoder-name", "enc-video-path"]),
        ({"modality": "audiovisual_avhubert"}, ["--pretrain-avhubert-enc-audiovisual-path"]),
    ],
)
def test_missing(values, lacking):
    found = missing(Options().updated(WHISPER | values), "train")
    assert len(found) == len(lacking)
    for line, expected in zip(found, lacking, strict=True):
        assert expected in line


def test_check_names_everything_at_once():
    with pytest.raises(ValueError, match="--alpha") as error:
        check(Options().updated({"alpha": 8}), "eval")
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "--alpha",
        "--root-dir",
        "--modality",
        "--llm-model",
        "--pretrained-model-path",
    ]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (
            {"prompt_video": "x", "max_frames_video": 9},
            "with --modality audio: --max-frames-video, --prompt-video",
        ),
        ({"pretrain_avhubert_enc_video_path": "a.pt"}, "audio: --pretrain-avhubert-enc-video-path"),
        ({"pretrain_avhubert_enc_audio_path": "a.pt"}, "audio: --pretrain-avhubert-enc-audio-path"),
        ({"use_lora_avhubert": True}, "audio: --use-lora-avhubert"),
        ({"single_projector_avhubert": True}, "audio: --single-projector-avhubert"),
        ({"modality": "video", "noise_file": "n.wav"}, "video: --audio-encoder-name, --noise-file"),
        (LORA | {"unfrozen_modules": ("encoder",)}, "the LLM's adapters stay frozen"),
    ],
)
def test_flags_without_effect_are_noted(values, note):
    values = WHISPER | {"noise_file": "n.wav"} | values
    notes = unused(Options().updated(values), values, "train")
    assert len(notes) == 1
    assert notes[0].endswith(note) or note in notes[0]


def test_no_note_without_cause():
    values = WHISPER | {"noise_file": "n.wav", "single_projector_avhubert": False, "decode_snr_target": 5}
    assert unused(Options().updated(values), values, "train") == []
    # What nobody set is not worth a word, whatever its value.
    assert unused(Options().updated(values | {"prompt_video": "x"}), values, "train") == []


def test_clean_training_is_noted():
    notes = unused(Options().updated(WHISPER), WHISPER, "train")
    assert notes == ["no --noise-file: the model is trained on clean speech"]


def test_training_flags_are_noted_in_evaluation():
    notes = unused(Options(), {"lr", "lora_dropout", "num_beams", "pretrained_model_path"}, "eval")
    assert notes == ["no effect in evaluation: --lora-dropout, --lr"]
