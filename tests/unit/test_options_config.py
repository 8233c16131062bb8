import re

import pytest

from llama_avsr.options import FIELDS, Options
from llama_avsr.options.config_file import read_config, write_config

CHANGED = {
    "root_dir": "some where",
    "modality": "audiovisual",
    "lr": 5e-6,
    "train_snr_levels": (-5.0, 0.0, "clean"),
    "unfrozen_modules": ("peft_llm", "encoder"),
    "val_check_interval": 500,
    "auto_test": False,
    "prompt_audio": "# yes: 'no', \"null\"",
    "precision": "32",
    "whisper_padding": "none",
    "exp_name": "007",
}


def config(folder, text, name="recipe.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def values(path):
    return {name: value for name, (value, _) in read_config(path).items()}


@pytest.mark.parametrize("changed", [{}, CHANGED])
def test_what_is_written_reads_back(tmp_path, changed):
    options = Options().updated(changed)
    text = write_config(options, dict.fromkeys(changed, "command line"), ["a remark"])
    read = values(config(tmp_path, text))
    assert set(read) == set(FIELDS)
    assert Options().updated(read) == options


def test_options_of_the_checkpoint_are_comments(tmp_path):
    read = values(config(tmp_path, write_config(Options(), {}, [], {"alpha", "modality"})))
    assert set(FIELDS) - set(read) == {"alpha", "modality"}


def test_keys_in_any_spelling_grouped_or_not(tmp_path):
    path = config(
        tmp_path,
        """
        training: {max-epochs: 3}
        lora:
          add-petf-llm: lora
          lora_rank: 8
        lr: 1e-3
        auto_test: no
        --num-beams: 2
        encoder:
        """,
    )
    assert values(path) == {
        "max_epochs": 3,
        "add_PETF_LLM": "lora",
        "lora_rank": 8,
        "lr": 0.001,
        "auto_test": False,
        "num_beams": 2,
    }
    assert read_config(path)["lora_rank"][1] == f"{path}:5"


def test_an_empty_file_sets_nothing(tmp_path):
    assert read_config(config(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nlearning_rat: 3", "recipe.yaml:2: unknown option 'learning_rat'"),
        ("weight_dcay: 3", "did you mean weight_decay?"),
        ("trainig:\n  lr: 1", "unknown option 'trainig'; did you mean training?"),
        ("lr: 1\ntraining:\n  lr: 2", "recipe.yaml:3: lr is set a second time, first at"),
        ("max_epochs: ten", "recipe.yaml:1: max_epochs: expected a whole number, found 'ten'"),
        ("lr: [1, 2]", "recipe.yaml:1: lr: expected a number"),
        ("- a\n- b", "expected `option: value` lines"),
        ("training: 3", "expected `option: value` lines"),
        ("a: [", "not YAML"),
        ("root_dir: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_config(config(tmp_path, text))
    assert "recipe.yaml" in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_config(tmp_path / "nowhere.yaml")
