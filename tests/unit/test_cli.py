import logging
import re
import subprocess
import sys
import tempfile
import warnings

import pytest

from llama_avsr import cli
from llama_avsr.options import FIELDS, defaults

MODEL = ["--modality", "audio", "--audio-encoder-name", "w", "--llm-model", "l"]
TRAIN = ["--root-dir", "d", "--noise-file", "n.wav", *MODEL]
EVAL = ["--root-dir", "d", "--pretrained-model-path", "m"]


def train(*words):
    return cli.parse([*TRAIN, *words], program="train", called="python train_LLM.py")


@pytest.fixture
def restored_logging():
    root, own = logging.getLogger(), [logging.getLogger(name) for name in cli.OWN_LOGGERS]
    before = [(logger, logger.level, list(logger.handlers)) for logger in [root, *own]]
    with warnings.catch_warnings():
        yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--lr", "5e-4"], "lr", 5e-4),
        (["--lr=5e-4"], "lr", 5e-4),
        (["--max_epochs", "3", "--max-epochs", "4"], "max_epochs", 4),
        (["--train-snr-levels", "-5", "0", "clean"], "train_snr_levels", (-5.0, 0.0, "clean")),
        (["--train-snr-levels", "-5,0,clean"], "train_snr_levels", (-5.0, 0.0, "clean")),
        (["--decode-snr-target", "-5"], "decode_snr_target", (-5.0,)),
        (["--auto-test"], "auto_test", True),
        (["--auto-test", "False"], "auto_test", False),
        (["--auto_test=false"], "auto_test", False),
        (["--no-auto-test"], "auto_test", False),
        (["--no_auto_test"], "auto_test", False),
        (["--debug"], "debug", True),
        (["--debug", "True"], "debug", True),
        (["--prompt-audio", "Say it."], "prompt_audio", "Say it."),
        (["--exp-name=--odd"], "exp_name", "--odd"),
        (["--compression-mode", "avg_pooling"], "compression_mode", "avg-pooling"),
        (["--val-check-interval", "1"], "val_check_interval", 1.0),
        (["--val-check-interval", "500"], "val_check_interval", 500),
        (["--val-check-interval", "0.25"], "val_check_interval", 0.25),
        (["--reduction_lora", "none"], "reduction_lora", None),
    ],
)
def test_spellings(words, name, value):
    parsed = train(*words)
    assert parsed.options[name] == value
    assert type(parsed.options[name]) is type(value)
    assert name in parsed.explicit


@pytest.mark.parametrize("flag", ["--add_PETF_LLM", "--add-PETF-LLM", "--add-petf-llm"])
@pytest.mark.parametrize("modules", [["peft_llm", "encoder"], ["peft_llm,encoder"]])
def test_published_spellings(flag, modules):
    parsed = train(flag, "lora", "--reduction-lora", "64", "--alpha", "8", "--unfrozen-modules", *modules)
    assert parsed.options.lora.scale == 0.125
    assert parsed.options.trained_modules == ("peft_llm", "encoder")
    assert parsed.notes == ()


def test_every_flag_takes_hyphen_and_underscore():
    for name, field in FIELDS.items():
        text = {True: "False", False: "1"}[field.is_bool]
        for flag in (f"--{name}", f"--{name.replace('_', '-')}", field.flag):
            # Whatever else is wrong with such a command, the flag is known.
            with pytest.raises(ValueError, match=r"^(?!unknown flag)"):
                cli.parse([flag, text], program="train")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weight-dcay", "1"], "unknown flag --weight-dcay; did you mean --weight-decay?"),
        (["--no-auto-tst"], "unknown flag --no-auto-tst; did you mean --no-auto-test?"),
        (["--no-lr"], "unknown flag --no-lr"),
        (["--print-confg"], "did you mean --print-config?"),
        (["--lr"], "--lr needs a value: a number"),
        (["--lr", "--seed", "3"], "--lr needs a value"),
        (["--lr", "1", "2"], "--lr takes one value, found 2"),
        (["--no-debug", "True"], "--no-debug takes no value, found 'True'"),
        (["--modality", "vidio"], "There are: audio, video, audiovisual, audiovisual_avhubert"),
        (["--compression-mode", "mean"], "There are: avg-pooling"),
        (["--gpus", "0"], "--gpus: expected a number of at least 1, found 0"),
        (["--adam-betas", "0.9", "1"], "--adam-betas: expected a number of at least 0 and below 1, found 1"),
        (["--val-check-interval", "2.5"], "--val-check-interval: expected a share of an epoch"),
        (["--alpha", "8"], "--alpha 8 needs --reduction_lora or --lora-rank"),
        (["--config"], "--config needs a value"),
    ],
)
def test_wrong_words(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(*words)


def test_a_stray_word():
    with pytest.raises(ValueError, match="unexpected 'data': every value follows a flag"):
        cli.parse(["data"], program="train")


MODEL_FLAG = ["--pretrained-model-path", "m"]


@pytest.mark.parametrize(
    ("words", "videos"),
    [
        (["a.mp4", *MODEL_FLAG], ["a.mp4"]),
        ([*MODEL_FLAG, "a, b.mp4", "c d.mp4"], ["a, b.mp4", "c d.mp4"]),
        (["--num-beams=3", "a.mp4", *MODEL_FLAG, "b.mp4"], ["a.mp4", "b.mp4"]),
        ([*MODEL_FLAG, "--already-cropped", "a.mp4"], ["a.mp4"]),
        ([*MODEL_FLAG, "--already-cropped", "False", "a.mp4"], ["a.mp4"]),
        ([*MODEL_FLAG, "--no-save-overlay", "a.mp4"], ["a.mp4"]),
        ([*MODEL_FLAG, "--format", "txt", "srt", "--", "a.mp4", "--odd.mp4"], ["a.mp4", "--odd.mp4"]),
        ([*MODEL_FLAG, "--format=txt,srt", "a.mp4"], ["a.mp4"]),
    ],
)
def test_words_without_a_flag_are_videos(words, videos):
    parsed = cli.parse(words, program="transcribe")
    assert [str(path) for path in parsed.options["videos"]] == videos
    assert parsed.options["pretrained_model_path"].name == "m"
    assert parsed.options["already_cropped"] == ("--already-cropped" in words and "False" not in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (MODEL_FLAG, "VIDEO is missing"),
        (["a.mp4"], "--pretrained-model-path is missing"),
        (["a.mp4", *MODEL_FLAG, "--format", "txt", "b.mp4"], "--format: found 'b.mp4'"),
        (["a.mp4", *MODEL_FLAG, "--already-croped"], "did you mean --already-cropped?"),
        (["a.mp4", *MODEL_FLAG, "--speaker", "0"], "--speaker"),
        (["a.mp4", *MODEL_FLAG, "--detector", "eyes"], "There are: .*mediapipe"),
    ],
)
def test_wrong_words_of_transcribe(words, said):
    with pytest.raises(ValueError, match=said):
        cli.parse(words, program="transcribe")


def test_flags_of_transcribe_have_no_effect_elsewhere():
    assert "no effect in training: --save-overlay" in train("--save-overlay").notes


def test_missing_flags_are_all_named():
    with pytest.raises(ValueError, match=r"--root-dir(.|\n)*--modality(.|\n)*--llm-model"):
        cli.parse([], program="train")
    with pytest.raises(ValueError, match=r"--root-dir(.|\n)*--pretrained-model-path"):
        cli.parse([], program="eval")


def test_evaluation_leaves_the_model_to_the_checkpoint():
    parsed = cli.parse([*EVAL, "--alpha", "8"], program="eval")
    assert parsed.explicit == {"root_dir", "pretrained_model_path", "alpha"}
    assert parsed.options.data.test_file == defaults("eval").data.test_file


def test_the_command_line_wins_over_config_files_and_the_later_file_over_the_earlier(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("lr: 1\nseed: 1\nmax_epochs: 1\nalpha: null\n")
    second.write_text("training:\n  max-epochs: 2\nseed: 2\n")
    parsed = train("--config", str(first), "--seed", "3", f"--config={second}")
    assert [parsed.options[name] for name in ("lr", "max_epochs", "seed")] == [1.0, 2, 3]
    assert parsed.sources["lr"] == f"{first}:1"
    assert parsed.sources["max_epochs"] == f"{second}:2"
    assert parsed.sources["seed"] == cli.COMMAND_LINE
    assert "alpha" not in parsed.explicit


@pytest.mark.parametrize(
    ("program", "words"),
    [("train", TRAIN), ("eval", EVAL), ("transcribe", ["a.mp4", "--pretrained-model-path", "m"])],
)
def test_printed_config_reads_back(tmp_path, capsys, program, words):
    words = [
        *words,
        "--lr",
        "1e-5",
        "--train-snr-levels",
        "-5,clean",
        "--no-auto-test",
        "--prompt-audio",
        "a: b",
    ]
    with pytest.raises(SystemExit) as leaving:
        cli.parse([*words, "--print-config"], program=program)
    assert leaving.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    direct, again = cli.parse(words, program=program), cli.parse(["--config", str(path)], program=program)
    assert again.options == direct.options
    assert direct.explicit <= again.explicit
    if program != "train":
        assert "modality" not in again.explicit


def test_printed_config_says_what_is_missing_and_wrong(capsys):
    with pytest.raises(SystemExit):
        cli.parse(
            ["--print-config", "--alpha", "8", "--prompt_video", "x"],
            program="train",
            called="python train_LLM.py",
        )
    text = capsys.readouterr().out
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert any("--root-dir is missing" in line for line in comments)
    assert any("--alpha 8 needs" in line for line in comments)
    assert re.search(r"^  alpha: 8\.0  # command line$", text, re.MULTILINE)


def test_heavy_imports_stay_out(tmp_path):
    script = (
        "import sys\n"
        "from llama_avsr import cli\n"
        "try:\n"
        "    cli.parse(sys.argv[1:], program='train')\n"
        "finally:\n"
        "    print({m.partition('.')[0] for m in sys.modules} "
        "& {'torch', 'numpy', 'transformers', 'pytorch_lightning', 'peft'}, file=sys.stderr)\n"
    )
    for flags in (["--print-config", "--root-dir", str(tmp_path / "nowhere")], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *flags], capture_output=True, text=True, check=True
        )
        assert done.stderr.strip() == "set()"
        assert len(done.stdout) > 1000
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("program", ["train", "eval", "transcribe"])
def test_help_describes_every_flag_that_matters(capsys, program):
    with pytest.raises(SystemExit) as leaving:
        cli.parse(["--help"], program=program, called=f"python {program}_LLM.py")
    text = capsys.readouterr().out
    assert leaving.value.code == 0
    assert max(map(len, text.splitlines())) <= 100
    assert text.count(f"  python {program}_LLM.py ") == (5 if program == "transcribe" else 2)
    listed = set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE))
    assert ("VIDEOS ..." in text) == ("--save-overlay" in listed) == (program == "transcribe")
    assert listed <= {"--config", "--print-config", "--help-all", *(field.flag for field in FIELDS.values())}
    counting = [f for f in FIELDS.values() if f.scope.counts_in(program)]
    matters = {f.flag for f in counting if not f.scope.positional}
    if program == "train":
        assert matters <= listed
        assert "--compression-mode {avg-pooling" in text
    else:
        assert {"--num-beams", "--pretrained-model-path", "--llm-model"} <= listed
        assert not {"--lr", "--ckpt-path", "--compression-mode", "--whisper-padding"} & listed


def test_help_all_lists_what_a_checkpoint_settles(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["--help-all"], program="eval")
    listed = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert {field.flag for field in FIELDS.values() if not field.scope.positional} <= listed


def test_run_turns_errors_of_the_user_into_a_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/train_LLM.py", "--lrr", "3"])
    with pytest.raises(SystemExit) as leaving:
        cli.run(lambda argv: cli.parse(argv, program="train"))
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert error == "train_LLM.py: error: unknown flag --lrr; did you mean --lr?\n"


def test_run_names_the_file_of_a_system_error(capsys, tmp_path):
    with pytest.raises(SystemExit) as leaving:
        cli.run(lambda argv: (tmp_path / "labels.csv").read_text(), [])
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'labels.csv'}: No such file or directory" in error
    assert "--debug shows where this comes from" in error


def test_run_shows_the_traceback_with_debug(capsys, restored_logging):
    def main(argv):
        cli.setup_logging(debug=True)
        raise ValueError("found 3, expected 4")

    with pytest.raises(SystemExit):
        cli.run(main, [])
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "ValueError: found 3, expected 4" in error
    assert re.search(r": error: found 3, expected 4$", error, re.MULTILINE)


def test_run_calls_faults_of_ours_so(capsys, monkeypatch, tmp_path):
    def main(argv):
        raise KeyError("x")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as leaving:
        cli.run(main, [])
    assert leaving.value.code == 70
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "KeyError: x" in error
    assert "--debug" in error
    (kept,) = tmp_path.iterdir()
    assert str(kept) in error
    assert "Traceback" in kept.read_text()


def test_run_ends_with_success_or_interruption():
    def interrupted(argv):
        raise KeyboardInterrupt

    for main, code in ((lambda argv: None, 0), (lambda argv: 1, 1), (interrupted, 130)):
        with pytest.raises(SystemExit) as leaving:
            cli.run(main, [])
        assert leaving.value.code == code


@pytest.mark.parametrize(("debug", "rank", "shown"), [(False, 0, "bcd"), (True, 0, "abcd"), (False, 1, "cd")])
def test_logging(capsys, monkeypatch, restored_logging, debug, rank, shown):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    cli.setup_logging(debug)
    own, other = logging.getLogger("llama_avsr.model.speech_llm"), logging.getLogger("some.library")
    other.setLevel(logging.INFO)  # as Lightning does when it is imported
    own.debug("message a")
    own.info("message b")
    own.warning("message c")
    other.warning("message d")
    if not debug:
        other.info("chatter")
    text = capsys.readouterr().err
    assert "".join(re.findall(r"message (\w)", text)) == shown
    assert "chatter" not in text
