"""Words with times in transcripts, and loops that are not believed."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import llama_avsr
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.model.decoding import BeamSearch, Hypothesis
from llama_avsr.options import to_dict
from llama_avsr.page import show
from llama_avsr.transcription import transcript
from llama_avsr.transcription.batches import Piece
from llama_avsr.transcription.loops import Loops, is_loop
from llama_avsr.transcription.outputs import as_json, as_srt, cues
from llama_avsr.transcription.pipeline import Transcriber
from llama_avsr.transcription.transcript import Segment, Word
from llama_avsr.words import file
from llama_avsr.words.aligner import Aligner
from llama_avsr.words.confidence import Calibration
from llama_avsr.words.spelling import Spelling
from tests import models
from tests.speech import spoken
from tests.unit import media_files

QUICK = {"accelerator": "cpu", "num_beams": 3, "max_dec_tokens": 4, "nbest": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("words")
    made = models.folders(root / "models")
    model = models.build(made, "audio")
    options = to_dict(models.options(made, "audio"))
    checkpoint.write(root / "asr", checkpoint.saved_state(model), options)
    torch.manual_seed(0)
    width = model.encoders["audio"].dim
    aligner = Aligner(Spelling("abcdefghijklmnopqrstuvwxyz"), {"audio": width}, {"audio": 50.0})
    file.write(root / "asr", file.WordModel(aligner, Calibration((0.1, 0.1, 0.1, 0.1), 1.0)))
    return root / "asr"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    waveform = np.concatenate([np.zeros(16000), spoken(3), np.zeros(16000)])
    return media_files.write_wav(tmp_path_factory.mktemp("sound") / "a.wav", waveform)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Transcriber:
    return llama_avsr.load(folder, **QUICK)


def test_words_lie_in_their_segment(loaded: Transcriber, sound: Path) -> None:
    found = loaded.transcribe(sound)
    (segment,) = found.segments
    assert [word.text for word in segment.words] == segment.text.split()
    assert len(segment.words) > 0
    edges = [edge for word in segment.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert segment.start_s <= edges[0]
    assert edges[-1] <= segment.end_s
    assert all(0 < word.confidence < 1 for word in segment.words)
    assert len(segment.hypotheses) == 1
    listed = json.loads(as_json(found))["segments"][0]["words"]
    assert [word["text"] for word in listed] == segment.text.split()


def test_without_an_aligner_no_times_are_invented(loaded: Transcriber, sound: Path) -> None:
    settings = replace(loaded.settings, word_times=True)
    plain = Transcriber(replace(loaded.trained, words=None), loaded.search, settings)
    found = plain.transcribe(sound)
    assert [segment.words for segment in found.segments] == [None]
    assert any(note.startswith("no word times: the model has no aligner") for note in found.notes)
    assert found.text == loaded.transcribe(sound).text
    assert json.loads(as_json(found))["segments"][0]["words"] is None


def test_an_aligner_of_another_model_is_refused(folder: Path) -> None:
    words = file.read(folder)
    other = Aligner(words.aligner.spelling, {"audio": 7}, {"audio": 50.0})
    file.write(folder, replace(words, aligner=other))
    try:
        with pytest.raises(ValueError, match=r"widths .*'audio': 7.*llama-avsr align"):
            llama_avsr.load(folder, **QUICK)
    finally:
        file.write(folder, words)


def test_the_scores_of_tokens_are_those_of_the_search(loaded: Transcriber) -> None:
    model = loaded.trained.model
    batch = models.joined(models.clips(model, "transcribe speech to text ."))
    with torch.inference_mode():
        tokens, frames = model.encode_with_frames(batch)
        nbests = model.generate(batch, BeamSearch(num_beams=3, max_new_tokens=6), tokens)
        texts = [[*nbest[0].ids, *([model.vocabulary.eos] if nbest[0].finished else [])] for nbest in nbests]
        found = model.token_log_probs(batch, texts, tokens)
    for nbest, log_probs in zip(nbests, found, strict=True):
        assert float(log_probs.mean()) == pytest.approx(nbest[0].score, abs=1e-4)
    assert frames.keys() == {"audio"}


WORDS = [Word("set", 1.0, 1.2, 0.9), Word("<white>", 1.3, 1.6, None), Word("now", 1.7, 2.0, 0.4)]
SAID = Segment(0.9, 2.1, [transcript.Hypothesis("set <white> now", -0.1)], ("audio",), WORDS)


def test_a_subtitle_for_each_word() -> None:
    assert [(cue.start_s, cue.end_s, cue.lines) for cue in cues([SAID], word_times=True)] == [
        *((1.0, 1.2, ["set"]), (1.3, 1.6, ["<white>"]), (1.7, 2.0, ["now"]))
    ]
    found = transcript.Transcript(path=Path("a.wav"), segments=[SAID], duration_s=3, media=("audio",))
    assert as_srt(found, word_times=True).count("-->") == 3
    assert as_srt(found).count("-->") == 1


def test_long_segments_are_cut_at_the_times_of_words() -> None:
    words = [Word(f"word{i:04d}", float(i), i + 0.5) for i in range(12)]
    text = " ".join(word.text for word in words)
    found = cues([Segment(0, 12, [transcript.Hypothesis(text, -0.1)], ("audio",), words)])
    assert [cue.start_s for cue in found] == [0, 8.0]
    assert [cue.end_s for cue in found] == [8.0, 12]


def test_the_page_shows_them() -> None:
    table = show.segments(
        transcript.Transcript(path=Path("a"), segments=[SAID], duration_s=3, media=("audio",))
    )
    assert '90 % sure" style="--doubt:10%">set</span>' in table
    assert ">&lt;white&gt;</span>" in table


@pytest.mark.parametrize(
    ("text", "finished", "loops"),
    [
        ("okay okay okay okay okay", True, True),
        ("no no no we do not go", True, False),
        ("okay okay okay", False, True),
        ("and so we go and so we go and so we go and so we go", True, True),
        ("ha" * 60, True, True),
        (
            "place white by t three now and then set red with q nine again but lay green in x two please",
            True,
            False,
        ),
        ("", True, False),
    ],
)
def test_loops_are_told_from_speech(text: str, finished: bool, loops: bool) -> None:
    assert is_loop(text, finished) is loops


def test_what_is_done_about_loops() -> None:
    texts = {1: "okay okay okay okay", 2: "okay then", 3: "so so so so so"}
    nbest = [Hypothesis(-0.1 * i, [i], True) for i in (1, 2, 3)]
    loops = Loops()
    kept = loops.sorted_out(nbest, lambda ids: texts[ids[0]])
    assert [one.ids for one in kept] == [[2]]
    assert loops.sorted_out([nbest[0], nbest[2]], lambda ids: texts[ids[0]]) == []
    assert loops.sorted_out([nbest[1]], lambda ids: texts[ids[0]]) == [nbest[1]]
    piece = Piece(100, 200, ("audio",))
    waveform = spoken(12.0).astype(np.float32)
    halves = loops.halves(piece, waveform)
    assert [halves[0].start, halves[-1].stop] == [100, 200]
    assert all(one.stop == other.start for one, other in itertools.pairwise(halves))
    assert len(halves) > 1
    assert loops.halves(Piece(0, 30, ("audio",)), waveform) == []
    assert [note.split(":")[0] for note in loops.notes] == [
        "the model repeated itself in 1 segments",
        "the model repeated itself in 1 segments",
        "the model did nothing but repeat itself in 1 segments (from 0.0 s)",
    ]


def test_a_loop_is_decoded_again_in_parts(
    loaded: Transcriber, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that loops on all that is longer than two seconds."""
    asked = []
    monkeypatch.setattr("llama_avsr.transcription.loops.is_loop", lambda text, finished: asked[-1] > 50)
    decode = Transcriber.decode

    def counted(self, jobs, *rest):
        found = []
        for job in jobs:
            asked.append(job.num_frames)
            found += decode(self, [job], *rest)
        return found

    monkeypatch.setattr(Transcriber, "decode", counted)
    found = loaded.transcribe(sound)
    assert len(found.segments) > 1
    assert all(segment.end_s - segment.start_s <= 2 for segment in found.segments)
    assert any(note.startswith("the model repeated itself in") for note in found.notes)
