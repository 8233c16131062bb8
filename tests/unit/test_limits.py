"""Clips that a model cannot take are named from the label file, before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datamodules.batch import Utterance
from llama_avsr.lightning.limits import check_lengths, long_enough
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.text import SpeechText
from llama_avsr.tasks import Prompt
from tests import models

REMEDY = "--max-frames-audio {frames}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def model(made: dict[str, str]) -> SpeechLLM:
    return models.build(made, "audio", downsample_ratio_audio=5)


def clips(*frames: int, text: str = "the quick brown fox") -> list[Utterance]:
    return [
        Utterance(
            id=f"clip{index}",
            video_path=Path("none.mp4"),
            audio_path=Path("none.wav"),
            num_frames=length,
            text=text,
            source=f"train.csv:{index + 1}",
        )
        for index, length in enumerate(frames)
    ]


def check(model: SpeechLLM, found: list[Utterance], new_tokens: int = 0) -> None:
    prompt = SpeechText(model.vocabulary, Prompt("transcribe speech to text ."))
    check_lengths(model, found, prompt, REMEDY, new_tokens)


def test_whisper_takes_30_seconds(model: SpeechLLM) -> None:
    check(model, clips(750, 25))
    with pytest.raises(ValueError, match="30 s") as caught:
        check(model, clips(25, 751, 800, 900, 1000))
    said = str(caught.value)
    assert "4 longer than the 30 s" in said
    assert "clip1, clip2, clip3, ..." in said
    assert "clip4" not in said
    assert "--max-frames-audio 750" in said


def positions(model: SpeechLLM, frames: int, text_tokens: int) -> int:
    speech = 2 * frames // 5  # 50 frames a second, five of them a token
    return 1 + 2 + speech + 5 + text_tokens  # BOS, markers, prompt


def test_the_last_position_counts(model: SpeechLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    config = model.llm.config
    monkeypatch.setattr(config, "max_position_embeddings", positions(model, 60, text_tokens=5))
    check(model, clips(60))
    with pytest.raises(ValueError, match="max_position_embeddings"):
        check(model, clips(63))
    monkeypatch.setattr(config, "max_position_embeddings", positions(model, 60, text_tokens=20))
    check(model, clips(60), new_tokens=20)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        check(model, clips(60), new_tokens=21)


def test_the_limit_is_that_of_the_sequence(model: SpeechLLM) -> None:
    """What `check_lengths` counts is what the LLM is given."""
    batch = models.joined(models.clips(model, "transcribe speech to text ."))
    for clip, utterance in enumerate(batch.utterances):
        single = models.clips(model, "transcribe speech to text .")[clip]
        count = model.loss(single).num_positions
        before = model.llm.config.max_position_embeddings
        try:
            model.llm.config.max_position_embeddings = count
            check(model, [utterance])
            model.llm.config.max_position_embeddings = count - 1
            with pytest.raises(ValueError, match="positions"):
                check(model, [utterance])
        finally:
            model.llm.config.max_position_embeddings = before


def test_clips_too_short_for_a_token(made: dict[str, str]) -> None:
    lips = models.build(made, "video", downsample_ratio_video=5)
    check(lips, clips(5))
    with pytest.raises(ValueError, match="1 too short") as caught:
        check(lips, [*clips(5), replace(clips(4)[0], id="brief")])
    assert "brief" in str(caught.value)
    assert "--max-frames" not in str(caught.value)


def test_training_leaves_out_clips_too_short_for_a_token(
    made: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    lips = models.build(made, "video", downsample_ratio_video=5)
    found = [*clips(5, 9), replace(clips(4)[0], id="brief")]
    assert list(long_enough(lips, found)) == found[:2]
    assert "1 too short" in caplog.text
    assert "brief" in caplog.text
    with pytest.raises(ValueError, match="all 1 clips"):
        long_enough(lips, found[2:])
