"""The demo's second language: its words, the manifests, and the LLaMA that learns it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from datamodules import formats
from llama_avsr import cli
from llama_avsr.demo.corpus.grammar import SLOTS, WORDS, sentences
from llama_avsr.demo.corpus.making import label_path
from llama_avsr.demo.corpus.manifests import manifest_path, write_manifests
from llama_avsr.demo.corpus.plan import SPLITS
from llama_avsr.demo.corpus.translation import SPANISH, translate
from llama_avsr.demo.pretrain import spelling, tokenizer
from llama_avsr.demo.pretrain.__main__ import PROGRAM, WEIGHTS_DIR
from llama_avsr.demo.pretrain.bilingual import (
    InstructedSpelling,
    bilingual_vocabulary,
    instructions,
    pretrain_bilingual,
    with_new_words,
)
from llama_avsr.demo.pretrain.training import Schedule

SENTENCE = "set white in x one please"
TRANSLATION = "pon blanco en x uno porfa"


def test_every_word_has_a_translation_of_its_own() -> None:
    assert set(SPANISH) == set(WORDS)
    assert len(set(SPANISH.values())) == len(WORDS)
    assert {word for word in WORDS if SPANISH[word] == word} == set(SLOTS[3])
    # A Spanish word that is another English one could not be told apart in a text.
    assert not (set(SPANISH.values()) - set(SLOTS[3])) & set(WORDS)
    assert all(word == word.lower() and len(word.split()) == 1 for word in SPANISH.values())
    assert translate(SENTENCE) == TRANSLATION
    with pytest.raises(ValueError, match="'fish'"):
        translate("set white fish")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Labels of 8 clips by 4 voices in each split, without pixels."""
    for number, split in enumerate(SPLITS):
        lines = []
        for index, text in enumerate(sentences(8, seed=number)):
            path = f"demo_video_seg16s/{split}/voice{index % 4}/{index:05d}.mp4"
            lines.append(f"demo,{path},{10 + index},6,{text}\n")
            clip = tmp_path / "demo" / path
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.touch()
        label_path(tmp_path, split).parent.mkdir(exist_ok=True)
        label_path(tmp_path, split).write_text("".join(lines))
    return tmp_path


def test_manifests_hold_each_test_clip_in_both_languages(corpus: Path) -> None:
    assert write_manifests(corpus) == {"train": 8, "val": 8, "test_seen": 16, "test_unseen": 16}
    english = {u.video_path: u for u in formats.read(label_path(corpus, "test_seen"), corpus)}
    rows = formats.read(manifest_path(corpus, "test_seen"), corpus)
    assert Counter(row.languages for row in rows) == {("en", "en"): 8, ("en", "es"): 8}
    for row in rows:
        source = english[row.video_path]
        assert row.text == (source.text if row.languages == ("en", "en") else translate(source.text))
        assert (row.num_frames, row.audio_path) == (source.num_frames, source.audio_path)
        assert row.run_lengths is None
    assert len({row.id for row in rows}) == len(rows)


def test_in_training_each_voice_takes_turns_between_languages(corpus: Path) -> None:
    write_manifests(corpus)
    rows = formats.read(manifest_path(corpus, "train"), corpus)
    assert len({row.video_path for row in rows}) == len(rows) == 8
    by_voice = Counter((row.video_path.parent.name, row.languages[1]) for row in rows)
    assert set(by_voice.values()) == {1}
    assert len(by_voice) == 8


def test_runs_of_units_follow_their_clips(corpus: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    for split in SPLITS:
        lines = "".join(f"3 {7 + index}\n" for index in range(8))
        (units / f"{label_path(corpus, split).stem}.cluster_counts").write_text(lines)
    write_manifests(corpus, units)
    for split in SPLITS:
        rows = formats.read(manifest_path(corpus, split), corpus)
        assert [row.run_lengths for row in rows] == [(3, row.num_frames - 3) for row in rows]
    write_manifests(corpus)
    assert formats.read(manifest_path(corpus, "val"), corpus)[0].run_lengths is None


def test_wrong_corpus_or_units_change_nothing(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prepare_data\.py demo"):
        write_manifests(tmp_path / "elsewhere")
    (tmp_path / f"{label_path(corpus, 'train').stem}.cluster_counts").write_text("1 2\n" * 8)
    with pytest.raises(ValueError, match="sum to the clip's 10 frames, found 3"):
        write_manifests(corpus, tmp_path)
    assert not manifest_path(corpus, "train").exists()


def test_bilingual_sequences_are_laid_out_as_the_task_does() -> None:
    tokens = tokenizer.make_tokenizer(bilingual_vocabulary())
    bos, eos = tokens.bos_token_id, tokens.eos_token_id
    rng, seen = random.Random(0), set()
    for _ in range(20):
        slots = InstructedSpelling(tokens).draw(SENTENCE, rng)
        target = [label for label in slots.labels if label != spelling.IGNORED]
        text = tokens.decode(target[1:-1])
        seen.add(text)
        instruction = instructions()["en" if text == SENTENCE else "es"]
        prefix = [bos, *tokens.encode(instruction, add_special_tokens=False)]
        assert slots.ids[: len(prefix)] == prefix
        assert (target[0], target[-1], tokens.unk_token_id in slots.ids) == (bos, eos, False)
        assert slots.ids[-8:] == target
        assert slots.labels[-9:-1] == target
    assert seen == {SENTENCE, TRANSLATION}
    assert bilingual_vocabulary()[: len(tokenizer.vocabulary())] == tokenizer.vocabulary()


def test_new_words_leave_the_old_ones_as_they_were(tmp_path: Path) -> None:
    tokens = tokenizer.make_tokenizer(bilingual_vocabulary())
    before = AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR / "llama")
    after = with_new_words(WEIGHTS_DIR / "llama", tokens)
    for old, new in (
        (before.get_input_embeddings(), after.get_input_embeddings()),
        (before.get_output_embeddings(), after.get_output_embeddings()),
    ):
        assert len(new.weight) == len(bilingual_vocabulary())
        assert new.weight[: len(old.weight)].equal(old.weight)
        pair = [tokens.convert_tokens_to_ids(word) for word in ("set", "pon")]
        assert (new.weight[pair[0]] - new.weight[pair[1]]).abs().mean() < old.weight.std()


def test_bilingual_llama_appears_whole_and_is_a_function_of_its_seed(tmp_path: Path) -> None:
    schedule, texts = Schedule(steps=2, report_every=2), sentences(6, seed=1)
    made = [
        pretrain_bilingual(
            WEIGHTS_DIR / "llama", texts, texts[:2], schedule, tmp_path / name, seed=3, batch_size=2
        )
        for name in ("a", "b")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    weights = [path.read_bytes() for path in sorted(tmp_path.glob("*/model.safetensors"))]
    assert weights[0] == weights[1]
    assert AutoTokenizer.from_pretrained(tmp_path / "a").get_vocab() == {
        token: index for index, token in enumerate(bilingual_vocabulary())
    }
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert loaded.config.vocab_size == len(bilingual_vocabulary())
    assert loaded.num_parameters() == made[0].num_parameters()


def test_it_is_not_written_into_the_repository(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--out"):
        cli.parse(["--part", "bilingual"], PROGRAM)
    options = cli.parse(["--part", "bilingual", "--out", str(tmp_path)], PROGRAM).options
    assert options.pretraining.out == tmp_path
