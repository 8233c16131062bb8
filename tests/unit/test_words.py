"""Times of words, and how sure they are: alignment, spelling, calibration, the file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.batch import Padded
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import Options, to_dict
from llama_avsr.training.aligning import Judged, fit_confidence, said_words
from llama_avsr.words import file
from llama_avsr.words.aligner import Aligner, Head
from llama_avsr.words.alignment import align, ctc_loss, path_loss, states
from llama_avsr.words.confidence import Calibration, agreements, calibration_error, features
from llama_avsr.words.evidence import Evidence, tokens_of_words
from llama_avsr.words.spelling import Spelling

WORDS = [[1, 2], [3]]


def all_paths(classes: list[int], num_frames: int) -> list[tuple[int, ...]]:
    """By the rules as they are told: begin and end at the ends, stay or go on, leave silence out."""
    last = len(classes) - 1

    def fits(path: tuple[int, ...]) -> bool:
        if path[0] > 1 or path[-1] < last - 1:
            return False
        steps = [(a, b) for a, b in itertools.pairwise(path) if b != a + 1 and b != a]
        return all(b == a + 2 and classes[a + 1] == 0 for a, b in steps)

    return [path for path in itertools.product(range(len(classes)), repeat=num_frames) if fits(path)]


def test_the_loss_sums_over_every_path() -> None:
    classes, _ = states(WORDS)
    scores = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    paths = all_paths(classes, 5)
    assert len(paths) > 10
    sums = [sum(float(scores[0, t, classes[s]]) for t, s in enumerate(path)) for path in paths]
    found = path_loss(scores, torch.tensor([5]), [classes])
    assert float(found) == pytest.approx(-math.log(sum(map(math.exp, sums))), abs=1e-4)
    placed = align(scores[0], WORDS, rate_hz=50)
    best = paths[int(np.argmax(sums))]
    first = [t for t, s in enumerate(best) if s in (1, 2)]
    assert (placed[0].start_s, placed[0].end_s) == (first[0] / 50, (first[-1] + 1) / 50)


def test_the_loss_of_a_clip_is_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 9, 4, generator=generator).log_softmax(-1)
    ways = [states(WORDS)[0], states([[2]])[0]]
    both = path_loss(scores, torch.tensor([9, 6]), ways)
    alone = path_loss(scores[1:, :6], torch.tensor([6]), ways[1:])
    assert float(both[1]) == pytest.approx(float(alone), rel=1e-5)
    # Two frames have no room for three characters.
    assert path_loss(scores, torch.tensor([2, 9]), ways)[0] == 0


def test_the_loss_that_lets_silence_into_words_is_ctc() -> None:
    scores = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    expected = torch.nn.functional.ctc_loss(
        scores[0], torch.tensor([1, 2, 3]), torch.tensor([6]), torch.tensor([3]), reduction="sum"
    )
    assert ctc_loss(scores, torch.tensor([6]), [[1, 2, 3]])[0] == pytest.approx(float(expected))
    assert ctc_loss(scores, torch.tensor([2]), [[1, 2, 3]])[0] == 0


def test_words_lie_where_their_characters_are() -> None:
    said = [0, 0, 1, 1, 2, 0, 0, 0, 3, 3, 3, 0]
    scores = torch.full((len(said), 4), -5.0)
    scores[torch.arange(len(said)), torch.tensor(said)] = -0.1
    first, second = align(scores, WORDS, rate_hz=50)
    assert (first.start_s, first.end_s) == pytest.approx((0.04, 0.1))
    assert (second.start_s, second.end_s) == pytest.approx((0.16, 0.22))
    assert first.score == second.score == 0
    # A character that was never trained is taken for any.
    unknown = align(scores, [[1, 2], [4]], rate_hz=50)
    assert (unknown[1].start_s, unknown[1].end_s) == pytest.approx((0.16, 0.22))
    wrong = align(scores, [[1, 2], [1]], rate_hz=50)
    assert wrong[1].score < -1
    assert align(scores[:2], WORDS, rate_hz=50) is None
    assert align(scores, [], rate_hz=50) == []


def test_a_clip_in_a_batch_gets_what_it_gets_alone() -> None:
    torch.manual_seed(0)
    head = Head(6, 4, parts=2)
    clips = [torch.randn(9, 6), torch.randn(5, 6)]
    both = Padded.from_list(clips)
    both.values[~both.mask] = 1e3
    together = head(both).unpad()
    alone = [head(Padded.from_list([clip])).unpad()[0] for clip in clips]
    assert [len(values) for values in together] == [18, 10]
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected)


def learned_error(
    texts: Sequence[str],
    clips: Sequence[torch.Tensor],
    truth: Sequence[Sequence[tuple[float, float]]],
    steps: int,
    settled_from: int,
    voices: Sequence[Sequence[tuple[float, float]]] | None = None,
) -> float:
    """How far words of the last 8 of 40 clips are off, in seconds, when a head has learnt from the others."""
    torch.manual_seed(0)
    spelling = Spelling("abcd")
    aligner = Aligner(spelling, {"audio": 5}, {"audio": 50.0})
    optimiser = torch.optim.Adam(aligner.parameters(), lr=3e-3)
    for step in range(steps):
        chosen = [(8 * step + i) % 32 for i in range(8)]
        frames = Padded.from_list([clips[i] for i in chosen])
        heard = None if voices is None else [voices[i] for i in chosen]
        loss = aligner.loss({"audio": frames}, [texts[i] for i in chosen], step >= settled_from, heard)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    aligner.eval()
    off = []
    for text, clip, edges in list(zip(texts, clips, truth, strict=True))[32:]:
        scores, rate_hz = aligner.scores({"audio": clip})
        placed = align(scores.detach(), [spelling.spell(word) for word in text.split()], rate_hz)
        off += np.abs(np.subtract([(word.start_s, word.end_s) for word in placed], edges)).ravel().tolist()
    return float(np.mean(off))


def test_a_head_learns_where_words_are_from_texts_alone() -> None:
    """Frames that show their character, in noise; each lasts three to six frames."""
    rng = np.random.default_rng(0)
    texts = [" ".join("".join(rng.permutation(list("abcd"))[:2]) for _ in range(3)) for _ in range(40)]
    clips, truth = zip(*(drawn(text, Spelling("abcd"), rng) for text in texts), strict=True)
    assert learned_error(texts, clips, truth, steps=60, settled_from=30) < 0.04


def test_silence_that_is_heard_is_not_taken_for_characters() -> None:
    """From paths alone, which without it are at their wits' end: every clip begins and ends the same."""
    rng = np.random.default_rng(0)
    texts = [f"ab {''.join(rng.permutation(list('cd')))} ba" for _ in range(40)]
    clips, truth = zip(*(drawn(text, Spelling("abcd"), rng, silence=30) for text in texts), strict=True)
    voices = [[(edges[0][0] - 0.02, edges[-1][1] + 0.02)] for edges in truth]
    told, untold, unknown = (
        learned_error(texts, clips, truth, steps=40, settled_from=0, voices=known)
        for known in (voices, None, [[]] * 40)
    )
    assert told < 0.04
    assert told < 0.6 * untold
    # Where nothing is known of a clip, nothing is held against it.
    assert unknown == untold


def drawn(
    text: str, spelling: Spelling, rng: np.random.Generator, silence: int = 5
) -> tuple[torch.Tensor, list[tuple[float, float]]]:
    classes: list[int] = [0] * silence
    edges = []
    for word in text.split():
        start = len(classes)
        for one in spelling.spell(word):
            classes += [one] * int(rng.integers(3, 7))
        edges.append((start / 50, len(classes) / 50))
        classes += [0] * int(rng.integers(0, 8))
    classes += [0] * silence
    noise = torch.from_numpy(rng.normal(0, 0.3, (len(classes), 5)).astype(np.float32))
    return torch.nn.functional.one_hot(torch.tensor(classes), 5).float() + noise, edges


def test_tokens_of_words() -> None:
    pieces = ["he", "llo", " wor", "ld", "!", " a b"]
    found = tokens_of_words(range(6), lambda ids: "".join(pieces[i] for i in ids))
    assert found == [[0, 1], [2, 3, 4], [5], [5]]
    assert tokens_of_words([], lambda ids: "") == []


def test_words_that_other_hypotheses_have_are_agreed_on() -> None:
    words = ["set", "white", "now"]
    others = [(words, math.log(0.6)), (["set", "why", "now"], math.log(0.3)), (["set", "now"], math.log(0.1))]
    assert agreements(words, others) == pytest.approx([1.0, 0.6, 1.0])


def test_said_words() -> None:
    assert said_words("Set white, now", ["set", "WHY", "now"]) == [0, None, 2]
    assert said_words("set now", ["set", "it", "Now.", "-"]) == [0, None, 1, None]
    assert said_words("please set now", ["now"]) == [2]
    assert said_words("", ["set"]) == [None]
    assert said_words("set", []) == []


def test_confidence_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    judged, wanted = [], []
    for _ in range(600):
        likely = float(rng.uniform(0.3, 1))
        own = features([math.log(likely)], agreement=likely, alignment=float(rng.normal(-1, 0.1)))
        judged.append(Judged("clip", Evidence("a", 0, 1, own), 0 if rng.random() < likely**2 else None))
        wanted.append(likely**2)
    calibration = fit_confidence(judged[:300])
    found = [calibration(word.evidence.features) for word in judged[300:]]
    assert np.mean(np.abs(np.subtract(found, wanted[300:]))) < 0.08
    assert calibration_error(found, [word.is_right for word in judged[300:]]) < 0.1
    assert calibration_error([0.9] * 10, [False] * 10) == pytest.approx(0.9)
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)


def test_what_is_always_right_says_nothing_of_confidence(caplog: pytest.LogCaptureFixture) -> None:
    right = Judged("clip", Evidence("a", 0, 1, features([-0.1], 1.0, -0.5)), 0)
    assert fit_confidence([right] * 50) is None
    assert "50 right and 0 wrong words" in caplog.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path / "model", {"a": torch.zeros(2)}, to_dict(Options()))
    return tmp_path / "model"


def words() -> file.WordModel:
    torch.manual_seed(1)
    aligner = Aligner(Spelling("abc"), {"audio": 6, "video": 4}, {"audio": 50.0, "video": 25.0})
    return file.WordModel(aligner, Calibration((0.5, 1.0, 0.0, 2.0), -1.0))


def test_a_file_beside_the_weights(folder: Path) -> None:
    assert file.read(folder) is None
    before = checkpoint.read_config(folder)
    file.write(folder, words())
    found = file.read(folder)
    assert found.calibration == words().calibration
    assert found.aligner.spelling == Spelling("abc")
    assert found.aligner.heads["video"].parts == 2
    for key, value in words().aligner.state_dict().items():
        assert torch.equal(found.aligner.state_dict()[key], value), key
    after = checkpoint.read_config(folder)
    assert after.pop("files").keys() == {"model.safetensors", "words.safetensors"}
    before.pop("files")
    assert after == before
    checkpoint.read_state(folder)


def test_damage_is_told(folder: Path) -> None:
    file.write(folder, words())
    path = folder / "words.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"abcd")
    with pytest.raises(ValueError, match=r"words\.safetensors: damaged, its SHA-256"):
        file.read(folder)
    path.write_bytes(content.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    checkpoint.list_file(folder, path.name)
    with pytest.raises(ValueError, match="format 9, this version reads 1"):
        file.read(folder)
    path.write_bytes(b"nonsense")
    checkpoint.list_file(folder, path.name)
    with pytest.raises(ValueError, match=r"not an aligner .*llama-avsr align"):
        file.read(folder)
