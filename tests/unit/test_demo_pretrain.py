"""The makers of the demo's ingredients, on tiny sizes; and the ingredients that are in the repository."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForCausalLM, AutoTokenizer, WhisperModel

import av_hubert
from av_hubert import AVHubert, AVHubertConfig
from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Padded
from llama_avsr import cli
from llama_avsr.demo.corpus.grammar import WORDS, held_out, sentences
from llama_avsr.demo.corpus.plan import Settings, plan
from llama_avsr.demo.corpus.voice import PHONES, pretraining_speakers, unseen_speakers
from llama_avsr.demo.pretrain import audio, heads, language, spelling, tokenizer, video
from llama_avsr.demo.pretrain.__main__ import PROGRAM, WEIGHTS_DIR, split_sentences
from llama_avsr.demo.pretrain.clips import Clip, someone_like
from llama_avsr.demo.pretrain.sounds import Microphone, Sound
from llama_avsr.demo.pretrain.training import Schedule

SENTENCE = "set white in x one please"
SCHEDULE = Schedule(steps=3, report_every=2)
MEGABYTE = 1_000_000


def make_clip(num_frames: int = 20, seed: int = 0, text: str = SENTENCE) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        text=text,
        waveform=rng.integers(-9000, 9000, num_frames * SAMPLES_PER_VIDEO_FRAME).astype(np.int16),
        phone_ids=np.array([0, 5, 30, 0]),
        phone_starts=np.array([0.0, 0.1, 0.5, 0.7], dtype=np.float32),
        frames=rng.integers(0, 255, (num_frames, 96, 96)).astype(np.uint8),
    )


@pytest.fixture
def clips() -> list[Clip]:
    texts = sentences(8, seed=3)
    return [make_clip(18 + index, index, text) for index, text in enumerate(texts)]


@pytest.fixture(scope="module")
def tokens() -> tokenizer.PreTrainedTokenizerFast:
    return tokenizer.make_tokenizer()


def test_tokenizer_survives_the_disk_and_gives_sentences_back(tokens, tmp_path):
    tokens.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for sentence in sentences(50, seed=4):
        ids = loaded.encode(sentence, add_special_tokens=False)
        assert len(ids) == 6
        assert loaded.decode(ids) == sentence
    assert loaded.encode(SENTENCE)[0] == loaded.bos_token_id
    assert len(loaded) == len(tokenizer.vocabulary())


def test_tokenizer_knows_every_word_and_prompt(tokens):
    unknown = tokens.unk_token_id
    for text in [*WORDS, *tokenizer.PROMPTS, *tokenizer.CHARACTERS]:
        assert unknown not in tokens.encode(text, add_special_tokens=False), text
    assert tokens.encode("fish", add_special_tokens=False) == [unknown]
    assert not set(tokens.get_vocab()) & {"<pad>", "<audio>", "</audio>", "<video>", "</video>"}


def test_undamaged_spelling_keeps_every_letter_in_order():
    rng = random.Random(0)
    for sentence in sentences(20, seed=5):
        letters = [token[2:] for token in spelling.damaged(sentence, 0.0, rng) if token != tokenizer.SPACE]
        runs = [letter for index, letter in enumerate(letters) if index == 0 or letters[index - 1] != letter]
        wanted = sentence.replace(" ", "")
        assert runs == [
            letter for index, letter in enumerate(wanted) if index == 0 or wanted[index - 1] != letter
        ]


def test_damage_grows_with_its_rate():
    rng = random.Random(0)
    kept = [sum(len(spelling.damaged(SENTENCE, rate, rng)) for _ in range(100)) for rate in (0.0, 0.5, 1.0)]
    assert kept[0] > kept[1] > kept[2]


def test_sequences_are_laid_out_as_the_project_does(tokens):
    task, rng = spelling.SpellingTask(tokens), random.Random(1)
    target = [*tokens.encode(SENTENCE, add_special_tokens=False), tokens.eos_token_id]
    for _ in range(30):
        slots = task.draw(SENTENCE, rng)
        assert slots.ids[0] == tokens.bos_token_id
        assert slots.ids[-7:] == target
        labelled = [label for label in slots.labels if label != spelling.IGNORED]
        assert labelled == target
        # Each label sits one place before the token that it names.
        assert slots.labels[-8:-1] == target
        prompt = tokens.decode(
            [token for token in slots.ids[:-7] if token in tokens.encode(" ".join(tokenizer.PROMPTS))]
        )
        assert prompt.endswith("to text.")


def test_padding_does_not_move_the_language_loss(tokens):
    task, rng = spelling.SpellingTask(tokens), random.Random(2)
    llama = language.make_llama(dim=32, num_layers=1, num_heads=2, ffn_dim=32).eval()
    values, labels = spelling.embed(
        [task.draw(SENTENCE, rng) for _ in range(3)],
        llama.get_input_embeddings().weight,
        torch.Generator().manual_seed(0),
    )
    assert (labels != spelling.IGNORED).sum() == 21
    padding = torch.full((3, 4, 32), 1e3)
    more = torch.full((3, 4), spelling.IGNORED)
    expected = language.text_loss(llama, values, labels)
    found = language.text_loss(llama, torch.cat([values, padding], 1), torch.cat([labels, more], 1))
    torch.testing.assert_close(found, expected)


def test_phone_labels_of_frames_follow_the_times():
    clip = make_clip(num_frames=25)
    labels = audio.frame_labels(clip, Sound(torch.zeros(16_000)))
    assert len(labels) == 50
    # Frame t of Whisper is centred on 20 t ms: phone 5 lasts from 100 ms to 500 ms.
    assert labels[[0, 4, 5, 24, 25, 34, 35, 49]].tolist() == [0, 0, 5, 5, 30, 30, 0, 0]
    assert len(audio.frame_labels(clip, Sound(torch.zeros(4000)))) == 25
    stretched = audio.frame_labels(clip, Sound(torch.zeros(32_000), stretch=2.0))
    assert stretched[[9, 10, 49, 50]].tolist() == [0, 5, 5, 30]
    # Frame t of a video shows 40 t to 40 t + 40 ms.
    shown = video.frame_labels(clip)
    assert len(shown) == 25
    assert shown[[0, 1, 2, 11, 12, 16, 17]].tolist() == [0, 0, 5, 5, 30, 30, 0]


def test_microphone_keeps_the_ratio_and_the_length(clips):
    microphone = Microphone(clips, seed=1)
    clean, noisy = microphone.plain(clips[0], 999_999.0), microphone.plain(clips[0], 0.0)
    added = noisy.waveform - clean.waveform
    assert added.square().sum() == pytest.approx(clean.waveform.square().sum().item(), rel=1e-3)
    varied = microphone.varied(clips[0], stretched=True)
    assert len(varied.waveform) == int(len(clips[0].waveform) * varied.stretch)
    assert microphone.varied(clips[0], stretched=False).stretch == 1.0


def test_heads_write_words_and_count_errors():
    head = heads.Heads(len(WORDS) + 1)
    torch.nn.init.eye_(head.words.weight)
    torch.nn.init.zeros_(head.words.bias)
    said = [heads.BLANK, 3, 3, heads.BLANK, 3, 7]
    frames = Padded(
        torch.nn.functional.one_hot(torch.tensor([said]), len(WORDS) + 1).float(), torch.tensor([5])
    )
    assert head.write(frames) == [f"{WORDS[3]} {WORDS[3]}"]
    labels = torch.tensor([[1, 2, heads.IGNORED, 4, 5, heads.IGNORED]])
    counted = heads.Errors()
    counted.add(head, frames, labels, [f"{WORDS[3]} {WORDS[4]}"])
    assert counted.frames == 4
    assert "words 50.0%" in str(counted)
    assert head.phones.out_features == len(PHONES)


def test_sentences_are_nobody_elses():
    train, measured = split_sentences(300, seed=9)
    assert len(set(train)) == 300
    assert not set(train) & set(measured)
    assert not (set(train) | set(measured)) & held_out()
    assert not (set(train) | set(measured)) & {clip.text for clip in plan(Settings())}
    unseen = {speaker.variant for speaker in unseen_speakers()}
    rng = random.Random(0)
    spoken_by = {someone_like(speaker, rng).variant for speaker in pretraining_speakers()}
    assert spoken_by
    assert not spoken_by & unseen
    with pytest.raises(ValueError, match="--seed"):
        cli.parse(["--seed", str(Settings().seed)], PROGRAM)


def moved(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_llama_learns_and_is_written(tmp_path):
    llama = language.make_llama(dim=32, num_layers=1, num_heads=2, ffn_dim=32)
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    texts = sentences(8, seed=1)
    language.pretrain_llama(texts, texts[:2], SCHEDULE, tmp_path, seed=1, batch_size=2, llama=llama)
    assert moved(before, llama) == set(before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    for name, value in llama.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_whisper_learns_and_is_written(clips, tmp_path):
    whisper = audio.make_whisper(dim=16, num_layers=1, num_heads=2, ffn_dim=16, max_frames=60)
    before = {name: value.clone() for name, value in whisper.encoder.state_dict().items()}
    audio.pretrain_whisper(
        clips, {"seen": clips[:2]}, SCHEDULE, tmp_path, seed=1, batch_size=2, whisper=whisper
    )
    assert moved(before, whisper.encoder) == set(before) - {"embed_positions.weight"}
    assert WhisperModel.from_pretrained(tmp_path).encoder.conv1.weight.dtype == torch.float32
    assert AutoFeatureExtractor.from_pretrained(tmp_path).feature_size == 80


def test_av_hubert_learns_and_is_written(clips, tmp_path):
    config = AVHubertConfig(
        num_layers=1,
        dim=16,
        ffn_dim=16,
        num_heads=2,
        resnet_planes=(2, 2, 2, 2),
        conv_pos=8,
        conv_pos_groups=2,
    )
    model = AVHubert(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    video.pretrain_av_hubert(
        clips, {"seen": clips[:2]}, SCHEDULE, tmp_path, seed=1, batch_size=2, model=model
    )
    assert {"feature_extractor_video.proj.weight", "feature_extractor_audio.proj.weight"} <= moved(
        before, model
    )
    loaded = av_hubert.load_checkpoint(tmp_path)
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name].float(), value.float(), atol=1e-3, rtol=1e-3)


def test_one_pass_of_the_front_ends_equals_extract(clips):
    model = video.make_av_hubert().eval()
    media = video.Camera(Microphone(clips, seed=0), seed=0, train=False)(clips[:2])
    both, seen = video.encode(model, media, ["audio video", "video"])
    frames, sound, padding = (
        media.video.values.unsqueeze(1),
        media.audio.values.transpose(1, 2),
        ~media.video.mask,
    )
    torch.testing.assert_close(both.values, model.extract(frames, sound, padding), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen.values, model.extract(frames, None, padding), atol=1e-5, rtol=1e-4)


def test_committed_weights_are_small_and_load():
    files = [path for path in Path(WEIGHTS_DIR).rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) < 8 * MEGABYTE

    whisper = WhisperModel.from_pretrained(WEIGHTS_DIR / "whisper")
    assert (whisper.config.d_model, whisper.config.encoder_layers, whisper.config.num_mel_bins) == (
        128,
        3,
        80,
    )
    assert whisper.config.max_source_positions == 1500
    assert AutoFeatureExtractor.from_pretrained(WEIGHTS_DIR / "whisper").feature_size == 80

    sight = av_hubert.load_checkpoint(WEIGHTS_DIR / "av_hubert")
    assert (sight.dim, sight.num_layers) == (128, 3)
    assert sight.config.resnet_planes == (8, 16, 32, 64)

    llama = AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR / "llama")
    assert llama.config.hidden_size == 192
    assert llama.get_input_embeddings().num_embeddings == len(tokenizer.vocabulary())
    tokens = AutoTokenizer.from_pretrained(WEIGHTS_DIR / "llama")
    assert tokens.get_vocab() == tokenizer.make_tokenizer().get_vocab()
    for model in (whisper, sight, llama):
        assert all(p.dtype == torch.float32 for p in model.parameters())
        assert all(torch.isfinite(p).all() for p in model.parameters())
    rate = language.word_error_rate(llama, spelling.SpellingTask(tokens), sentences(20, seed=6), rate=0.1)
    assert rate < 0.1
