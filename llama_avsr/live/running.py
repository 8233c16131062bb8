"""A live recording from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from datamodules.batch import VIDEO_FPS
from llama_avsr.live.clock import Clock
from llama_avsr.live.encoding import Speech
from llama_avsr.live.feed import Feed, Source
from llama_avsr.live.passing import Live
from llama_avsr.live.session import finish, step
from llama_avsr.live.state import LiveState, Update
from llama_avsr.transcription.modality import Media

NOT_SHARED = nullcontext()
POLL_FRAMES = 2
"""From one look at the source to the next."""
PIECE_FRAMES = 5
"""What came in while a pass took its time may hold the end of a segment: so many are taken up at once."""


@dataclass(frozen=True)
class Moment:
    """What is known at a time. now: when; seconds: how much of the recording was looked at."""

    now: float
    seconds: float
    update: Update


def run(
    live: Live,
    source: Source,
    feed: Feed,
    clock: Clock,
    stopped: Callable[[], bool] = lambda: False,
    model: AbstractContextManager[object] = NOT_SHARED,
) -> Iterator[Moment]:
    """Every update, until the source ends or `stopped`. model: entered while the model may be used."""
    state, ended, due = LiveState(), False, 0.0
    try:
        while not ended:
            due = max(due + POLL_FRAMES / VIDEO_FPS, clock.now())
            clock.wait_until(due)
            taken = source.take(clock.now())
            ended = taken.ended or stopped()
            for piece, media, newest in _pieces(feed.chunks(taken)):
                with model:
                    state, update = step(live, state, piece, media, newest)
                if update.passes or update.fixed or update.closed:
                    yield Moment(clock.now(), state.seconds, update)
        with model:
            state, update = finish(live, state)
        yield Moment(clock.now(), state.seconds, update)
    finally:
        source.close()


def _pieces(chunks: Iterable[tuple[Speech, Media]]) -> Iterator[tuple[Speech, Media, bool]]:
    """Chunks in small pieces, and whether each is the last of its chunk."""
    for chunk, media in chunks:
        for start in range(0, len(chunk), PIECE_FRAMES):
            yield chunk.cut(start, start + PIECE_FRAMES), media, start + PIECE_FRAMES >= len(chunk)
