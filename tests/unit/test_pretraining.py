"""An encoder of lips learns: its targets, their losses, and the options of the program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from av_hubert import AVHubert, AVHubertConfig
from datamodules.batch import Batch, Padded, Utterance
from llama_avsr.options.pretraining import SCHEMA, PretrainingOptions, problems
from llama_avsr.pretraining.model import LipReader
from llama_avsr.pretraining.targets import (
    IGNORED,
    SILENCE,
    Characters,
    FrameClasses,
    WordTimes,
    alphabet_of,
    read_units,
)

TIMES = "clip,word,start_s,end_s\na/1,Bin,0.04,0.12\na/1,blue,0.16,0.2\na/2,at,0,0.08\n"


def utterance(name: str, num_frames: int, text: str = "", line: int = 1) -> Utterance:
    return Utterance(
        id=name,
        video_path=Path(f"{name}.mp4"),
        audio_path=Path(f"{name}.wav"),
        num_frames=num_frames,
        text=text,
        source=f"labels.csv:{line}",
    )


def words_of(folder: Path, text: str = TIMES) -> WordTimes:
    (folder / "words.csv").write_text(text)
    return WordTimes.read(folder / "words.csv")


def test_a_frame_is_of_the_word_that_is_said_in_its_middle(tmp_path: Path) -> None:
    times = words_of(tmp_path)
    labels = times.labels(utterance("a/1", 6), {"bin": 1, "blue": 2})
    # Middles at 0.02, 0.06, 0.1, 0.14, 0.18 and 0.22 s.
    assert labels.tolist() == [SILENCE, 1, 1, SILENCE, 2, SILENCE]


def test_words_without_a_class_and_clips_without_times_teach_nothing(tmp_path: Path) -> None:
    times = words_of(tmp_path)
    assert times.labels(utterance("a/1", 6), {"blue": 1}).tolist() == [0, IGNORED, IGNORED, 0, 1, 0]
    assert times.labels(utterance("b/1", 3), {"blue": 1}).tolist() == [IGNORED] * 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clip,word\n", r"words\.csv:1: expected clip,word,start_s,end_s, found 'clip,word'"),
        (f"{TIMES}a/3,now,soon,0.3\n", r"words\.csv:5: expected .*found 'a/3,now,soon,0\.3'"),
        (f"{TIMES}a/3,now,0.3\n", r"words\.csv:5: expected .*found 'a/3,now,0\.3'"),
    ],
)
def test_word_times_that_cannot_be_read(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        words_of(tmp_path, text)


def test_word_times_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv: no such file; expected word times"):
        WordTimes.read(tmp_path / "none.csv")


def test_units_of_the_clips_of_a_label_file(tmp_path: Path) -> None:
    path = tmp_path / "train.km"
    path.write_text("8 8 3\n1 1 1 2\n")
    clips = [utterance("a/2", 4, line=2), utterance("a/1", 3, line=1)]
    assert {name: units.tolist() for name, units in read_units(path, clips).items()} == {
        "a/2": [1, 1, 1, 2],
        "a/1": [8, 8, 3],
    }


@pytest.mark.parametrize(("frames", "line"), [(2, 1), (3, 7)])
def test_units_that_do_not_fit(tmp_path: Path, frames: int, line: int) -> None:
    path = tmp_path / "train.km"
    path.write_text("8 8 3\n")
    with pytest.raises(ValueError, match=rf"train\.km:{line}: expected the {frames} units of a/1, found"):
        read_units(path, [utterance("a/1", frames, line=line)])


def test_frame_classes_count_the_known_frames() -> None:
    target = FrameClasses(3, 2, {"a": torch.tensor([1, 0, IGNORED]), "b": torch.tensor([1])})
    with torch.no_grad():
        target.head.weight.zero_()
        target.head.bias.copy_(torch.tensor([0.0, 2.0]))  # says 1
    frames = Padded(torch.full((2, 3, 3), 7.0), torch.tensor([3, 1]))
    score = target(frames, [utterance("a", 3), utterance("b", 1)])
    right, wrong = torch.nn.functional.softplus(torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(score.losses, torch.stack([(right + wrong) / 2, right]))
    assert (int(score.correct), score.total) == (2, 3)


def test_characters_are_written_without_repetitions_and_blanks() -> None:
    clips = [utterance("a", 6, "Ab b")]
    target = Characters(4, alphabet_of(clips))
    assert target.alphabet == [" ", "a", "b"]
    logits = torch.nn.functional.one_hot(torch.tensor([[2, 2, 0, 3, 0, 3]]), 4).float()
    assert target.write(Padded(logits, torch.tensor([6]))) == ["abb"]
    assert target.write(Padded(logits, torch.tensor([3]))) == ["a"]


def test_characters_that_were_not_trained_on_are_left_out() -> None:
    target = Characters(4, ["a", "b"])
    assert target.encode("a, é b!").tolist() == [1, 2]


def reader(clips: list[Utterance]) -> LipReader:
    torch.manual_seed(0)
    config = AVHubertConfig(
        num_layers=1, dim=16, ffn_dim=32, num_heads=2, resnet_planes=(8, 8, 8, 8), resnet_activation="relu"
    )
    labels = {clip.id: torch.arange(clip.num_frames) % 3 for clip in clips}
    targets = {"words": FrameClasses(16, 3, labels), "characters": Characters(16, alphabet_of(clips))}
    return LipReader(AVHubert(config), targets)


def batch_of(clips: list[Utterance], padding: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    videos = [torch.randn(clip.num_frames, 32, 32, generator=generator) for clip in clips]
    video = Padded.from_list(videos)
    video.values[~video.mask] = padding
    return Batch(utterances=clips, inputs={"video": video}, text_ids=[])


def test_the_loss_of_a_batch_is_the_sum_over_its_clips_and_padding_does_not_leak() -> None:
    clips = [utterance("a", 9, "ab"), utterance("b", 5, "b"), utterance("c", 7, "a b")]
    model = reader(clips).eval()
    with torch.no_grad():
        together = model.loss(batch_of(clips, padding=float("nan")))
        alone = []
        for place in range(3):
            video = batch_of(clips).inputs["video"].unpad()[place]
            single = Batch(
                utterances=clips[place : place + 1], inputs={"video": Padded.from_list([video])}, text_ids=[]
            )
            alone.append(model.loss(single))
    torch.testing.assert_close(together.cross_entropy, sum(loss.cross_entropy for loss in alone))
    assert together.weight == 3
    assert together.num_tokens == sum(loss.num_tokens for loss in alone) == 9 + 5 + 7 + 2 + 1 + 3
    assert together.correct == sum(loss.correct for loss in alone)


def test_it_learns() -> None:
    clips = [utterance("a", 9, "ab"), utterance("b", 6, "ba")]
    model, batch = reader(clips), batch_of(clips)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model.loss(batch).cross_entropy
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"targets": ("words",)}, "--targets words needs --word-times-file"),
        ({"dim": 40}, "--dim 40: expected a multiple of 16"),
        ({"dim": 48, "num_heads": 5}, "--num-heads"),
        ({"targets": ()}, "--targets: found none"),
    ],
)
def test_options_that_contradict_each_other(values: dict[str, object], said: str) -> None:
    (fault,) = problems(SCHEMA.updated(PretrainingOptions(), values))
    assert said in fault


def test_no_option_of_the_language_model_is_among_those_of_the_encoder() -> None:
    assert {"lr", "targets", "gpus", "ckpt_path", "root_dir"} <= SCHEMA.fields.keys()
    assert not {"llm_model", "num_beams", "noise_file", "modality", "test_file"} & SCHEMA.fields.keys()
