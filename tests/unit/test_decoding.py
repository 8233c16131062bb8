"""Beam search against transformers' own, and batched against single."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llama_avsr.model import decoding, shared_cache
from llama_avsr.model.attention import sees_everything
from llama_avsr.model.decoding import BeamSearch, beam_search
from llama_avsr.model.llm import load_llm
from llama_avsr.model.prompt import splice
from llama_avsr.model.reading import Reading, reader
from tests import tiny

EOS = 1


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    made = load_llm(tiny.llm(Path(tmp_path_factory.mktemp("llm"))))
    with torch.no_grad():  # make the end of the text likely enough to be met
        made.get_output_embeddings().weight[EOS] *= 1.6
    return made


def prompts(llm: PreTrainedModel, count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(int(length), llm.config.hidden_size, generator=generator)
        for length in torch.randint(2, 14, (count,), generator=generator)
    ]


@pytest.mark.parametrize("width", [1, 2, 5, 8])
@pytest.mark.parametrize("penalty", [1.0, 0.0])
def test_equals_transformers(llm: PreTrainedModel, width: int, penalty: float) -> None:
    search = BeamSearch(num_beams=width, max_new_tokens=9, length_penalty=penalty)
    found, expected, ended = [], [], 0
    for prompt in prompts(llm, 12):
        (nbest,) = beam_search(llm, splice([[prompt]], "left"), EOS, search)
        ended += nbest[0].finished
        found.append(nbest[0].ids)
        ids = llm.generate(
            inputs_embeds=prompt[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=width,
            max_new_tokens=9,
            length_penalty=penalty,
            do_sample=False,
            early_stopping=False,
            pad_token_id=2,
        )[0].tolist()
        expected.append(ids[: ids.index(EOS)] if EOS in ids else ids)
    assert found == expected
    assert ended > 0


def test_batched_equals_single(llm: PreTrainedModel) -> None:
    search = BeamSearch(num_beams=4, max_new_tokens=9, num_best=4)
    made = prompts(llm, 9, seed=1)
    together = splice([[prompt] for prompt in made], "left")
    poisoned = together.embeddings.masked_fill(together.attention_mask[..., None] == 0, 1e3)
    batch = beam_search(llm, type(together)(poisoned, *list(vars(together).values())[1:]), EOS, search)
    for prompt, nbest in zip(made, batch, strict=True):
        (alone,) = beam_search(llm, splice([[prompt]], "left"), EOS, search)
        assert [h.ids for h in nbest] == [h.ids for h in alone]
        assert [h.score for h in nbest] == pytest.approx([h.score for h in alone], abs=1e-5)


def test_nbest_is_sorted_and_distinct(llm: PreTrainedModel) -> None:
    search = BeamSearch(num_beams=6, max_new_tokens=5, num_best=6)
    (nbest,) = beam_search(llm, splice([[prompts(llm, 1)[0]]], "left"), EOS, search)
    scores = [h.score for h in nbest]
    assert len(nbest) == 6
    assert scores == sorted(scores, reverse=True)
    assert len({(tuple(h.ids), h.finished) for h in nbest}) == 6
    assert all(EOS not in h.ids for h in nbest)


def test_score_is_the_mean_log_probability(llm: PreTrainedModel) -> None:
    prompt = prompts(llm, 1)[0]
    ((best,),) = beam_search(llm, splice([[prompt]], "left"), EOS, BeamSearch(num_beams=3, max_new_tokens=6))
    ids = torch.tensor(best.ids + [EOS] * best.finished)
    embedded = torch.cat([prompt, llm.get_input_embeddings()(ids)])
    log_probs = llm(inputs_embeds=embedded[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert best.score == pytest.approx(float(log_probs.gather(1, ids[:, None]).mean()), abs=1e-5)


@pytest.mark.parametrize("steps_of_room", [1, 2, 5])
def test_places_that_no_beam_sees_are_taken_out(
    llm: PreTrainedModel, steps_of_room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "STEPS_OF_ROOM", steps_of_room)
    batch = splice([[prompt] for prompt in prompts(llm, 7, seed=2)], "left")
    search = BeamSearch(num_beams=4, max_new_tokens=24, num_best=4, length_penalty=2.0)
    expected = beam_search(llm, batch, EOS, search, Reading.REREAD)
    found = beam_search(llm, batch, EOS, search)
    assert max(len(nbest[0].ids) for nbest in found) > 2 * steps_of_room
    for nbest, other in zip(found, expected, strict=True):
        assert [(h.ids, h.finished) for h in nbest] == [(h.ids, h.finished) for h in other]
        assert [h.score for h in nbest] == pytest.approx([h.score for h in other], abs=1e-4)


@pytest.mark.parametrize("reading", [Reading.SHARED, Reading.CACHED, Reading.REREAD])
def test_looking_rarely_changes_nothing(
    llm: PreTrainedModel, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = splice([[prompt] for prompt in prompts(llm, 9, seed=3)], "left")
    search = BeamSearch(num_beams=3, max_new_tokens=11, num_best=3)
    expected = beam_search(llm, batch, EOS, search, reading)
    monkeypatch.setattr(decoding, "STEPS_UNSEEN", {"cpu": 4})
    found = beam_search(llm, batch, EOS, search, reading)
    assert [[(h.ids, h.finished) for h in nbest] for nbest in found] == [
        [(h.ids, h.finished) for h in nbest] for nbest in expected
    ]
    lengths = {len(h.ids) for nbest in found for h in nbest if h.finished}
    assert len(lengths) > 2  # clips are decided at different times


@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize(("at_once", "look_every"), [(1, 1), (3, 1), (4, 3), (8, 1)])
def test_a_clip_takes_the_place_of_one_that_is_finished(
    llm: PreTrainedModel, reading: Reading, at_once: int, look_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = BeamSearch(num_beams=3, max_new_tokens=11, num_best=3)
    batch = splice([[prompt] for prompt in prompts(llm, 9, seed=3)], "left")
    expected = beam_search(llm, batch, EOS, search, reading)
    monkeypatch.setattr(decoding, "STEPS_UNSEEN", {"cpu": look_every})
    monkeypatch.setattr(shared_cache, "STEPS_OF_ROOM", 2)
    rows: list[int] = []
    called = decoding.reader

    def watched(*args: object) -> object:
        read = called(*args)
        step = read.step
        read.step = lambda parents, tokens: rows.append(len(parents)) or step(parents, tokens)
        return read

    monkeypatch.setattr(decoding, "reader", watched)
    found = beam_search(llm, batch, EOS, replace(search, clips_at_once=at_once), reading)
    for nbest, other in zip(found, expected, strict=True):
        assert [(h.ids, h.finished) for h in nbest] == [(h.ids, h.finished) for h in other]
        assert [h.score for h in nbest] == pytest.approx([h.score for h in other], abs=1e-5)
    assert max(rows) == (1 if reading is Reading.CLIP_BY_CLIP else at_once)
    if reading is Reading.SHARED and look_every == 1:
        # Every place is filled until no clip waits.
        waits = len(expected) - at_once
        assert all(count == at_once for count in rows[: rows.index(at_once) + waits])


def test_beams_add_little_to_the_cache_of_a_long_prompt(llm: PreTrainedModel) -> None:
    def size(width: int) -> int:
        prompt = 0.1 * torch.randn(2000, llm.config.hidden_size, generator=torch.Generator().manual_seed(0))
        read = reader(llm, Reading.SHARED, 2032)
        read.read(splice([[prompt]], "left"), width, 31)
        largest, parents = 0, torch.zeros(1, width, dtype=torch.int64)
        for step in range(31):
            # Half of the beams branch, the others end: as uneven as a search gets for long.
            parents[0] = torch.arange(width) // 2 if step % 4 == 0 else torch.arange(width)
            read.step(parents, torch.randint(3, 20, (1, width)))
            layers = read.cache.dynamic.layers
            largest = max(largest, sum(layer.keys.nbytes + layer.values.nbytes for layer in layers))
        return largest

    with torch.no_grad():
        assert size(15) <= 1.3 * size(1)


def test_a_window_shorter_than_the_text_has_no_shared_cache(llm: PreTrainedModel) -> None:
    assert sees_everything(llm, 10_000)
    config = type(llm.config).from_dict({**llm.config.to_dict(), "sliding_window": 16, "layer_types": None})
    windowed = type(llm)(config)
    assert not sees_everything(windowed, 16)
    assert sees_everything(windowed, 15)
