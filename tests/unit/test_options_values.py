import re
from pathlib import Path
from typing import Annotated, Literal

import pytest

from llama_avsr.options.values import PositiveInt, Probability, Range, Registered, convert, describe, metavar

Snr = float | Literal["clean"]


@pytest.mark.parametrize(
    ("hint", "given", "expected"),
    [
        (bool, "True", True),
        (bool, "no", False),
        (bool, "0", False),
        (bool, True, True),
        (int, "42", 42),
        (float, "1e-3", 0.001),
        (float, 3, 3.0),
        (str, 5, "5"),
        (Path, "a/b", Path("a/b")),
        (Literal["avg-pooling", "stack"], "AVG_pooling", "avg-pooling"),
        (Literal["32", "bf16"], 32, "32"),
        (int | None, "None", None),
        (int | None, None, None),
        (int | None, "7", 7),
        (int | float, "0.5", 0.5),
        (int | float, "500", 500),
        (Snr, "clean", "clean"),
        (Snr, "-5", -5.0),
        (tuple[Snr, ...], "-5, 0,clean", (-5.0, 0.0, "clean")),
        (tuple[Snr, ...], ["-5", "0", "clean"], (-5.0, 0.0, "clean")),
        (tuple[Snr, ...], [-5, "clean"], (-5.0, "clean")),
        (tuple[str, ...], "q_proj", ("q_proj",)),
        (tuple[float, float], ["0.9", "0.98"], (0.9, 0.98)),
        (PositiveInt, "1", 1),
        (Annotated[str, Registered("llama_avsr.compressors")], "avg_pooling", "avg-pooling"),
    ],
)
def test_convert(hint, given, expected):
    converted = convert(hint, given)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("hint", "given", "message"),
    [
        (bool, "maybe", "expected True or False, found 'maybe'"),
        (int, "8.0", "expected a whole number, found '8.0'"),
        (int, True, "expected a whole number"),
        (int, 2.5, "expected a whole number"),
        (float, "nan", "expected a number"),
        (float, True, "expected a number"),
        (str, ["a"], "expected text"),
        (str, None, "expected text"),
        (Path, "", "expected a path"),
        (Literal["audio", "video"], "vidio", "did you mean video? There are: audio, video"),
        (int | None, "x", "expected a whole number, found 'x'"),
        (Snr, "quiet", "expected a number or clean, found 'quiet'"),
        (tuple[float, float], "0.9", "expected 2 values, found 1"),
        (PositiveInt, "0", "of at least 1, found 0"),
        (Probability, 1.5, "of at least 0 and of at most 1, found 1.5"),
        (Annotated[float, Range(0, 1, above=True, below=True)], 1, "above 0 and below 1, found 1"),
        (Annotated[str, Registered("llama_avsr.compressors")], "stak", "did you mean stack?"),
    ],
)
def test_convert_refuses(hint, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(hint, given)


def test_words_for_people():
    assert describe(PositiveInt | None) == "a whole number or none"
    assert describe(tuple[str, ...]) == "a list"
    assert metavar(Literal["a", "b"] | None) == "{a,b}"
    assert metavar(tuple[Snr, ...]) == "X|clean ..."
    assert "stack" in metavar(Annotated[str, Registered("llama_avsr.compressors")])
