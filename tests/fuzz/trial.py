"""One file given to one reader, and what may come of it."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.targets import Target

MAX_SECONDS = 20.0
MAX_MEGABYTES = 1024
MAX_SENTENCE = 4000
FOREIGN = (UnicodeError, json.JSONDecodeError)
"""ValueErrors of Python's own."""
SEEDS = Path(__file__).parent / "seeds"


def attempt(target: Target, content: bytes) -> bool:
    """Whether the file was read. Raises AssertionError where that ended neither so nor in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        for name, beside in target.beside:
            (Path(folder) / name).write_bytes(beside)
        path = Path(folder) / target.name
        path.write_bytes(content)
        start, before = time.process_time(), _peak_megabytes()
        try:
            target.read(path)
            told = None
        except ValueError as error:
            told = error
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} reached the caller: {error}") from error
        seconds, megabytes = time.process_time() - start, _peak_megabytes() - before
    assert seconds < MAX_SECONDS, f"took {seconds:.0f} s"
    assert megabytes < MAX_MEGABYTES, f"took {megabytes} MB"
    if told is not None:
        assert type(told) not in FOREIGN, f"{type(told).__name__} reached the caller: {told}"
        assert 10 < len(str(told)) < MAX_SENTENCE, f"a message of {len(str(told))} characters"
    return told is None


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def kept(name: str) -> list[bytes]:
    """Files that were once fatal for a target: `seeds/NAME/*`."""
    return [path.read_bytes() for path in sorted((SEEDS / name).glob("*"))]


def files(target: Target) -> st.SearchStrategy[bytes]:
    """Files near those that the target reads, and others."""
    return st.one_of(
        st.builds(_edited, st.sampled_from(target.made()), st.lists(_edits(), min_size=1, max_size=8)),
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )


INTERESTING = (
    *(b"\x00", b"\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8, b"\x00\x00\x00\x80"),
    *(b"-1", b"0", b"1e999", b"nan", b"9" * 30, b"\n", b"\r", b"\t", b",", b":", b"- ", b"[", b"{", b"&a *a"),
    *(
        b"-->",
        b"../",
        b"!!int ",
        b"<<: ",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"(",
        b"}",
        b"u.",
        b"R",
        b"b",
        b"Q",
    ),
)


def _edits() -> st.SearchStrategy[tuple[str, float, float, bytes]]:
    return st.tuples(
        st.sampled_from(("put", "insert", "cut", "repeat", "flip", "end")),
        st.floats(0, 1),
        st.floats(0, 0.2),
        st.one_of(st.sampled_from(INTERESTING), st.binary(min_size=1, max_size=8)),
    )


def _edited(content: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    """place and size: shares of the file's length."""
    for what, place, size, new in edits:
        start = int(place * len(content))
        stop = start + max(1, int(size * len(content)))
        before, part, after = content[:start], content[start:stop], content[stop:]
        content = {
            "put": before + new + content[start + len(new) :],
            "insert": before + new + part + after,
            "cut": before + after,
            "repeat": before + part * 3 + after,
            "flip": before + bytes(byte ^ new[0] for byte in part[:1]) + part[1:] + after,
            "end": before,
        }[what]
    return content
