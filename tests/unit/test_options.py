import json
import pickle

import pytest

from llama_avsr.options import (
    FIELDS,
    MODALITIES,
    PROGRAMS,
    SCHEMA,
    DataOptions,
    LoraOptions,
    Options,
    defaults,
    from_dict,
    to_dict,
)
from llama_avsr.options.fields import FACES, canonical
from llama_avsr.options.scoring import SCORING
from llama_avsr.tasks import Prompt

LABEL_COMMANDS = ("prepare validate", "prepare convert")
SEG16 = "lrs3_test_transcript_lengths_seg16s_LLM_lowercase.csv"
SEG24 = "lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv"

PUBLISHED_TEXT = """
    --exp-dir --root-dir --seed --project-wandb --exp-name --modality --llm-model --intermediate-size
    --single-projector-avhubert --prompt-audio --prompt-video --prompt-audiovisual
    --pretrain-avhubert-enc-video-path --pretrain-avhubert-enc-audio-path
    --pretrain-avhubert-enc-audiovisual-path --use-lora-avhubert --audio-encoder-name --unfrozen_modules
    --add_PETF_LLM --reduction_lora --alpha --downsample-ratio-audio --downsample-ratio-video
    --downsample-ratio-audiovisual --train-file --val-file --test-file --num-nodes --gpus
    --pretrained-model-path --warmup-epochs --max-epochs --num-average-epochs --num-check-save
    --val-check-interval --max-frames-audio --max-frames-video --max-frames-audiovisual --lr --weight-decay
    --train-num-buckets --ckpt-path --max-dec-tokens --num-beams --slurm-job-id --decode-snr-target --debug
    --auto-test --add-sink-loss --sink-loss-factor --layernorm-projector --compression-mode
"""
PUBLISHED = PUBLISHED_TEXT.split()

PUBLISHED_DEFAULTS = {
    "seed": 42,
    "intermediate_size": 2048,
    "downsample_ratio_audio": 3,
    "downsample_ratio_video": 3,
    "downsample_ratio_audiovisual": 2,
    "warmup_epochs": 0,
    "max_epochs": 10,
    "num_average_epochs": 1,
    "num_check_save": 4,
    "val_check_interval": 1.0,
    "max_frames_audio": 1000,
    "max_frames_video": 1500,
    "max_frames_audiovisual": 1000,
    "lr": 1e-3,
    "weight_decay": 0.1,
    "train_num_buckets": 400,
    "max_dec_tokens": 32,
    "num_beams": 15,
    "decode_snr_target": (999999,),
    "auto_test": True,
    "sink_loss_factor": 10000,
    "compression_mode": "stack",
    "train_file": "lrs3_train_transcript_lengths_seg16s_LLM_lowercase_greater25.csv",
    "val_file": SEG16,
    "test_file": (SEG16,),
}


def test_every_published_flag_keeps_its_name_and_default():
    assert len(PUBLISHED) == 52
    assert set(PUBLISHED) <= {field.flag for field in FIELDS.values()}
    options = defaults("train")
    assert {name: options[name] for name in PUBLISHED_DEFAULTS} == PUBLISHED_DEFAULTS


def test_evaluation_tests_on_longer_clips():
    options = defaults("eval")
    assert (options.data.val_file, options.data.test_file) == (SEG24, (SEG24,))
    changed = {name for name in FIELDS if options[name] != defaults("train")[name]}
    assert changed == {"val_file", "test_file"}


def test_every_option_explains_itself():
    assert len(FIELDS) > len(PUBLISHED)
    for name, field in FIELDS.items():
        assert field.help.endswith("."), name
    assert all(group.title for group in SCHEMA.groups)


def test_no_two_flags_share_a_spelling():
    negated = [f"no_{name}" for name in FIELDS if FIELDS[name].is_bool]
    words = [*FIELDS, *negated, *(group.name for group in SCHEMA.groups), "config", "print_config", "help"]
    assert len({canonical(word) for word in words}) == len(words)


def test_scopes_name_programs():
    for name, field in FIELDS.items():
        scope = field.scope
        assert any(scope.counts_in(program) for program in PROGRAMS), name
        assert set(scope.programs or ()) <= {*PROGRAMS, *FACES, *LABEL_COMMANDS, *SCORING, "convert"}, name
        assert all(scope.counts_in(program) for program in scope.needed_by), name
        assert not scope.may_differ or scope.fixed, name


@pytest.mark.parametrize("modality", MODALITIES)
def test_conditions_can_be_asked_of_any_modality(modality):
    options = Options().updated({"modality": modality})
    answers = {name: f.scope.when(options) for name, f in FIELDS.items() if f.scope.when is not None}
    assert set(map(type, answers.values())) == {bool}
    assert {True, False} == set(answers.values())


def test_groups_refuse_bad_values_by_flag():
    with pytest.raises(ValueError, match="--max-frames-audio: expected a number of at least 1, found 0"):
        DataOptions(max_frames_audio=0)
    with pytest.raises(ValueError, match="--num-beams: expected a whole number, found 'many'"):
        Options().updated({"num_beams": "many"})


def test_updated_leaves_the_rest_alone():
    options = Options()
    changed = options.updated({"lr": 2e-3, "num_beams": 1, "lora_targets": ["q_proj"]})
    assert changed["lora_targets"] == ("q_proj",)
    assert {name for name in FIELDS if changed[name] != options[name]} == {"lr", "num_beams", "lora_targets"}
    assert pickle.loads(pickle.dumps(changed)) == changed


def test_saved_options_come_back_through_json():
    options = Options().updated(
        {
            "modality": "video",
            "root_dir": "data",
            "train_snr_levels": (-5.0, "clean"),
            "unfrozen_modules": ("llm",),
        }
    )
    assert from_dict(json.loads(json.dumps(to_dict(options)))) == options


def test_saved_options_of_other_versions(caplog):
    options = from_dict({"training": {"lr": 2e-3, "retired": 1}, "gone": {"also": 2}, "seed": 7})
    assert options == Options().updated({"lr": 2e-3, "seed": 7})
    assert {"retired", "also"} <= {word for record in caplog.records for word in record.getMessage().split()}
    with pytest.raises(ValueError, match="saved option lr: expected a number"):
        from_dict({"lr": "fast"})


@pytest.mark.parametrize(
    ("lora", "rank", "scale"),
    [
        ({"reduction_lora": 64, "alpha": 8}, 64, 0.125),
        ({"lora_rank": 16, "alpha": 32}, 16, 2.0),
        ({"lora_rank": 16}, 16, 2.0),
        ({"reduction_lora": 1000, "alpha": 8}, 4, 0.008),
    ],
)
def test_lora_size(lora, rank, scale):
    options = LoraOptions(add_PETF_LLM="lora", **lora)
    assert options.rank(4096) == rank
    assert options.scale == pytest.approx(scale)


def test_lora_reduction_that_leaves_no_rank():
    with pytest.raises(ValueError, match="--reduction_lora 64 leaves no rank of the LLM's width 16"):
        LoraOptions(reduction_lora=64, alpha=8).rank(16)


def test_snr():
    augmentation = Options().augmentation
    assert augmentation.decode_snrs_db == (None,)
    assert augmentation.train_snrs_db == (None,)
    noisy = Options().updated({"noise_file": "n, 1.wav", "decode_snr_target": 0}).augmentation
    assert noisy.noise_file == ("n, 1.wav",)
    assert Options().updated({"noise_file": ["a b.wav", "speaker"]}).augmentation.noise_file == (
        "a b.wav",
        "speaker",
    )
    for none in (None, "none", [None]):
        assert Options().updated({"noise_file": none}).augmentation.train_snrs_db == (None,)
    assert noisy.decode_snrs_db == (0.0,)
    assert noisy.train_snrs_db == (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, None)
    assert Options().updated({"decode_snr_target": "clean"}).augmentation.decode_snrs_db == (None,)


def test_workers():
    assert DataOptions(num_workers=0).workers(2) == 0
    assert 1 <= DataOptions().workers(1) <= 8
    assert DataOptions().workers(10_000) == 1


def test_what_follows_from_the_modality(tmp_path):
    options = Options().updated({"modality": "video", "prompt_video": "Read.", "exp_dir": tmp_path})
    assert (options.layout, options.train_max_frames, options.test_max_frames) == (
        Prompt("Read."),
        1500,
        1500,
    )
    assert options.updated({"test_max_frames": 300}).test_max_frames == 300
    assert options.run_dir == tmp_path / "video"
    assert options.updated({"exp_name": "lips"}).run_dir == tmp_path / "lips"
    with pytest.raises(ValueError, match="--modality is missing"):
        _ = Options().streams


def test_trained_modules():
    lora = {"modality": "audio", "add_PETF_LLM": "lora", "lora_rank": 4, "use_lora_avhubert": True}
    options = Options().updated(lora)
    assert options.trained_modules == ("peft_llm",)
    assert options.updated({"modality": "video"}).trained_modules == ("peft_llm", "lora_avhubert")
    named = options.updated({"unfrozen_modules": ("encoder", "lora_avhubert", "llm.model.norm")})
    assert named.trained_modules == ("encoder", "llm.model.norm")
    assert Options().updated({"modality": "audio"}).trained_modules == ()


def test_places_on_this_machine_are_private():
    places = {"root_dir", "path_prefix", "exp_dir", "output_dir", "pretrained_model_path", "ckpt_path"}
    assert places <= {name for name, field in FIELDS.items() if field.scope.private}
