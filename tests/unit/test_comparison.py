"""Comparisons of systems: what their tests claim by chance, and what they refuse to compare."""

import csv
import json
import math

import numpy as np
import pytest

from llama_avsr.commands import compare as command
from llama_avsr.evaluation.comparison import statistics
from llama_avsr.evaluation.comparison.compare import compare
from llama_avsr.evaluation.comparison.pairing import pair
from llama_avsr.evaluation.hypotheses import Texts
from llama_avsr.evaluation.metrics import COUNTED, aligned, bleu_score, score
from llama_avsr.evaluation.normalisation import normalisation
from llama_avsr.evaluation.speakers import groups_of, speakers_of

NONE = normalisation("none")
WER = COUNTED["wer"]
WORDS = ["lay", "bin", "set", "place", "red", "blue", "green", "white", "now", "soon", "again", "please"]


def texts(hypotheses, references=None, ids=None, source="system", **more):
    ids = ids or [f"s{place % 20}/{place}" for place in range(len(hypotheses))]
    return Texts(source=source, ids=ids, hypotheses=hypotheses, references=references, **more)


def spoken(num_clips, rng, num_words=8):
    return [" ".join(rng.choice(WORDS, num_words)) for _ in range(num_clips)]


def misheard(references, share, rng):
    """Each word lost with a chance of `share`, or a little more or less: clips are not alike."""
    kept = []
    for text, hardness in zip(references, rng.uniform(0, 2, len(references)), strict=True):
        kept.append(" ".join(word for word in text.split() if rng.random() > share * hardness))
    return kept


def test_chance_alone_is_claimed_in_five_percent_of_comparisons():
    rng = np.random.default_rng(14)
    claimed = 0
    for _ in range(200):
        num_words = rng.integers(3, 12, 150)
        share = rng.beta(1, 6, 150)
        first, second = (np.stack([rng.binomial(num_words, share), num_words], axis=1) for _ in range(2))
        bootstrap = statistics.paired_bootstrap(first, second, WER.scores, num_resamples=500)
        errors = np.stack([first[:, 0], second[:, 0]], axis=1)
        segments = statistics.matched_pairs(errors[errors.any(axis=1)])
        claimed += max(bootstrap.p, segments) < 0.05
    # Of 200 at 5 % each: 10, with a standard deviation of 3.
    assert 2 <= claimed <= 19


def test_a_difference_is_found_and_put_in_words():
    rng = np.random.default_rng(0)
    references = spoken(160, rng)
    systems = [texts(misheard(references, share, rng), references) for share in (0.3, 0.3, 0.1)]
    (same, better), notes = compare({"": systems}, "ABC", normalisation=NONE)
    assert not same.is_claimed
    assert same.verdict().startswith("no difference can be claimed between A and B: ")
    assert better.is_claimed
    assert better.names[better.better] == "C"
    low, high = better.interval.low, better.interval.high
    assert low < better.difference < high < 0
    wer = [score(references, system.hypotheses).wer for system in systems]
    assert better.scores == (pytest.approx(wer[0]), pytest.approx(wer[2]))
    assert better.verdict() == (
        f"C is better than A by {wer[0] - wer[2]:.2f} points [{-high:.2f}, {-low:.2f}], p < 0.001 corrected"
    )
    assert any("2 comparisons" in note for note in notes)
    assert better.by_speaker is not None
    assert better.interval in (better.by_clip, better.by_speaker)
    assert len(compare({"": systems}, "ABC", normalisation=NONE, all_pairs=True)[0]) == 3


def test_the_same_hypotheses_do_not_differ():
    references = ["a b", "c d"]
    [found], _ = compare({"": [texts(["a b", "c"], references)] * 2}, "AB", normalisation=NONE)
    assert (found.p, found.difference, found.changed, found.p_segments) == (1.0, 0.0, [], 1.0)


def test_translations_are_compared_by_bleu():
    rng = np.random.default_rng(1)
    references = spoken(60, rng)
    systems = [texts(misheard(references, share, rng), references) for share in (0.05, 0.4)]
    [found], _ = compare({"": systems}, "AB", metric="bleu", normalisation=NONE)
    assert found.scores[0] == pytest.approx(bleu_score(references, systems[0].hypotheses).bleu)
    assert found.p_segments is None
    assert found.verdict().startswith("A is better than B by ")
    assert " BLEU [" in found.verdict()


def test_few_clips_claim_nothing():
    """Four of four clips favour B: by luck that happens once in eight times."""
    references = ["a b c"] * 4
    systems = [texts(["x b c"] * 4, references), texts(references, references)]
    [found], _ = compare({"": systems}, "AB", normalisation=NONE)
    assert found.p == 0.125


def test_speakers_widen_the_interval():
    """All of a speaker's clips are better in one system: the clips are no independent witnesses."""
    num_words = np.full(120, 10)
    wins = np.repeat([1, 1, 1, 1, 1, 0, 0, 0], 15)
    first, second = (np.stack([2 * one, num_words], axis=1) for one in (wins, 1 - wins))
    groups = groups_of([str(place // 15) for place in range(120)])
    by_clip = statistics.paired_bootstrap(first, second, WER.scores)
    by_speaker = statistics.paired_bootstrap(first, second, WER.scores, groups)
    assert by_clip.p < 0.05 < by_speaker.p
    assert by_speaker.high - by_speaker.low > 2 * (by_clip.high - by_clip.low)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a x c d e f", "a b c d e y", [(1, 0), (0, 1)]),  # three good words part them
        ("a x c d y f", "a b c d e f", [(1, 0), (1, 0)]),  # two do
        ("a x c y e f", "a b c d e f", [(2, 0)]),  # one does not
        ("a b c d e f", "a b c d e f", []),
        ("a b c x d e f", "a b d e f", [(1, 1)]),  # an insertion beside a deletion
        ("x a b c d e f y", "a b c d e f", [(1, 0), (1, 0)]),
        ("", "a b c d e f", [(6, 0)]),
    ],
)
def test_segments(first, second, expected):
    reference = "a b c d e f"
    assert statistics.segments(aligned(reference, first), aligned(reference, second)) == expected


def test_matched_pairs_of_a_worked_example():
    """Differences 1 x 12, -1 x 4 and 0 x 4: mean 0.4, standard deviation 0.8208, W = 2.179."""
    errors = np.array([[1, 0]] * 12 + [[0, 1]] * 4 + [[1, 1]] * 4)
    w = 0.4 / (math.sqrt((16 - 20 * 0.16) / 19) / math.sqrt(20))
    assert statistics.matched_pairs(errors) == pytest.approx(math.erfc(w / math.sqrt(2)))
    assert statistics.matched_pairs(errors) == pytest.approx(0.0293, abs=1e-3)
    assert statistics.matched_pairs(np.zeros((0, 2), dtype=int)) == 1.0
    assert statistics.matched_pairs(np.array([[5, 0]])) == 1.0


def test_holm():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0]


def test_speakers():
    ids = [f"grid/s{place % 7}/{place}" for place in range(21)]
    speakers = speakers_of(ids)
    assert len(groups_of(speakers)) == 7
    assert [len(group) for group in groups_of(speakers)] == [3] * 7
    assert speakers_of(["a", "b"]) is None
    assert groups_of(speakers_of(["s1/a", "s2/b"])) is None
    assert speakers_of(["id10001-x", "id10002-y"], r"^(id\d+)") == ["id10001", "id10002"]
    with pytest.raises(ValueError, match="not found in the id 'b'"):
        speakers_of(["id1", "b"], r"id\d")
    with pytest.raises(ValueError, match="no regular expression"):
        speakers_of(["id1"], "(")


def test_another_test_list_is_refused():
    ours = texts(["a", "b", "c"], ["a", "b", "c"], ["1", "2", "3"], "ours")
    theirs = texts(["a", "b", "d"], ["a", "b", "d"], ["1", "2", "4"], "theirs")
    with pytest.raises(ValueError, match=r"theirs was made with another test list than ours: 1 only in ours"):
        pair([ours, theirs])
    with pytest.raises(ValueError, match=r"1 of 3 differ, such as 3: 'x' against 'c'"):
        pair([ours, texts(["a", "b", "c"], ["a", "b", "x"], ["1", "2", "3"])])
    with pytest.raises(ValueError, match="found no references"):
        pair([texts(["a"]), texts(["b"])])


def test_clips_are_paired_by_id_and_else_by_their_references():
    ours = texts(["a", "b", "c"], ["A", "B", "C"], ["1", "2", "3"], "ours")
    shuffled = texts(["z", "x", "y"], None, ["3", "1", "2"], "shuffled")
    other_ids = texts(["p", "q", "r"], ["a", "b", "c"], ["x", "y", "z"], "other ids")
    silent = texts(["one", "three"], None, ["1", "3"], "silent", omits_silent=True)
    found = pair([ours, shuffled, other_ids, silent], normalise=str.lower)
    assert found.references == ["a", "b", "c"]
    assert found.hypotheses[1:] == [["x", "y", "z"], ["p", "q", "r"], ["one", "", "three"]]
    assert [note.partition(":")[0] for note in found.notes] == ["other ids", "silent"]
    truth = texts(["a a", "b", "c"], None, ["1", "2", "3"], "truth")
    assert pair([shuffled, silent], truth).references == ["a a", "b", "c"]


def test_command(tmp_path, capsys):
    rng = np.random.default_rng(3)
    references = spoken(80, rng)
    for system, share in (("a", 0.4), ("b", 0.05)):
        for condition, harder in (("test", 0), ("test_0dB", 1)):
            folder = tmp_path / system / condition
            folder.mkdir(parents=True)
            written = misheard(references, share if harder else 0.1, rng)
            rows = zip(map(str, range(80)), references, written, strict=True)
            with (folder / "hypotheses.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("id", "reference", "hypothesis"), *rows])
            snr = 0.0 if harder else None
            (folder / "summary.json").write_text(json.dumps({"snr_db": snr}))
    out = tmp_path / "out"
    command.main([str(tmp_path / "a"), str(tmp_path / "b"), "--output-dir", str(out), "--show", "1"])
    screen = capsys.readouterr().out
    assert "test: no difference can be claimed between A and B" in screen
    assert "0dB: B is better than A by" in screen
    assert "A and B: B is better in 0dB; no difference can be claimed in test" in screen
    assert "normalisation: none" in screen
    found = json.loads((out / "comparison.json").read_text())
    assert [one["is_claimed"] for one in found["comparisons"]] == [False, True]
    assert found["comparisons"][1]["p_matched_pairs"] < 0.001
    with (out / "changed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(one["num_changed"] for one in found["comparisons"])
    assert abs(int(rows[0]["gain"])) >= abs(int(rows[1]["gain"]))
    command.main([str(tmp_path / "a" / "test"), str(tmp_path / "a" / "test_0dB")])
    assert "at different SNRs" in capsys.readouterr().out
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "b").rename(tmp_path / "run" / "results" / "average")
    command.main([str(tmp_path / "a"), str(tmp_path / "run"), "--show", "0"])
    assert "A and B: B is better in 0dB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"), [(["a"], "found 1, expected two to 26"), ([], "RESULTS is missing")]
)
def test_too_few(words, said):
    with pytest.raises(ValueError, match=said):
        command.main(words)


def test_normalisation_is_named():
    assert normalisation("lower").apply("Ab, C.") == "ab, c."
    whisper = normalisation("whisper-english")
    assert whisper.apply("It's TWENTY-one, isn't it?") == "it is 21 is not it"
    assert "transformers" in whisper.said
