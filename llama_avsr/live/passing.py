"""One pass over a segment that is being spoken: encode, write, fix what is sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llama_avsr.live.encoding import Encoded, encode_on
from llama_avsr.live.policy import shown, sure
from llama_avsr.live.state import LiveWord, Open, Rules, Update
from llama_avsr.live.writing import Written, write
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.transcription.loops import most_tokens
from llama_avsr.transcription.pipeline import Trained


@dataclass(frozen=True)
class Live:
    """A model, and how it is used. now: the clock of the recording, in seconds."""

    trained: Trained
    search: BeamSearch
    rules: Rules
    now: Callable[[], float]


def look(live: Live, segment: Open, stop: int, last: bool = False) -> tuple[Open, Update]:
    """Write down the first `stop` frames. last: the segment is over, and is encoded once more as a whole."""
    if last and stop == segment.passed and segment.encoded.final == 0:
        return settle(live, segment, last)  # the last pass was about the whole already
    trained, rules = live.trained, live.rules
    before = Encoded() if last else segment.encoded
    speech = segment.speech.cut(0, stop)
    with trained.precision():
        encoded, tokens, batch = encode_on(
            trained, segment.media, speech, before, rules.context, rules.languages
        )
        written = write(
            trained.model,
            trained.view_of(segment.media),
            replace(live.search, max_new_tokens=min(live.search.max_new_tokens, most_tokens(stop))),
            batch,
            tokens,
            segment.ids,
            segment.written.read if segment.written else None,
        )
    segment = replace(segment, passed=stop, encoded=encoded, written=written)
    segment, update = settle(live, segment, last)
    read = written.read
    return segment, replace(
        update,
        passes=1,
        encoded=batch.utterances[0].num_frames,
        read=0 if read is None else len(read.embeddings),
        reused=0 if read is None else read.reused,
    )


def settle(live: Live, segment: Open, last: bool = False) -> tuple[Open, Update]:
    """Fix what is sure of the words that the last pass wrote; all of them, where it is the `last`."""
    policy, written, fixed = live.rules.policy, segment.written, len(segment.words)
    passes = [*segment.passes, written.guesses][-policy.agreement :]
    visible = len(written.guesses) if last else shown(policy, written.guesses, fixed)
    seen = _seen(live, segment, written, visible)
    count = visible if last else min(visible, sure(policy, passes, fixed))
    new = [
        LiveWord(guess.text, guess.probability, *seen[index], live.now(), segment.number)
        for index, guess in enumerate(written.guesses[:count])
        if index >= fixed
    ]
    segment = replace(
        segment,
        passes=passes,
        seen=seen,
        words=[*segment.words, *new],
        ids=written.ids[: written.ends[count - 1]] if new else segment.ids,
    )
    partial = " ".join(guess.text for guess in written.guesses[max(fixed, count) : visible])
    return segment, Update(fixed=new, partial=partial)


def _seen(live: Live, segment: Open, written: Written, visible: int) -> Sequence[tuple[float, float]]:
    before = [guess.text for guess in segment.passes[-1]] if segment.passes else []
    return [
        segment.seen[index]
        if index < len(segment.seen) and before[index] == guess.text
        else (segment.heard_s, live.now())
        for index, guess in enumerate(written.guesses[:visible])
    ]
