"""A transcript as HTML. Whatever comes from a model or a file is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from llama_avsr.transcription.modality import named
from llama_avsr.transcription.transcript import Segment, Transcript, Word

STAGE_NAMES = {"read": "reading", "faces": "faces", "crop": "crop", "encode": "encoder", "decode": "decoder"}
EN_DASH, TIMES, MINUS = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
SCORE_HELP = "log-probability for each token; nearer to 0 is surer"


def status(transcript: Transcript) -> str:
    """What was used, why not more, and what else a reader should know."""
    used = transcript.reason or named(transcript.media)
    notes = "".join(f"<li>{escape(note)}</li>" for note in transcript.notes)
    notes = f"<ul>{notes}</ul>" if notes else ""
    return f'<div class="note" role="status"><p>Used: {escape(used)}.</p>{notes}</div>'


def problem(text: str) -> str:
    return f'<div class="note problem" role="alert"><p>{escape(text)}</p></div>'


def limits(file_size: str, seconds: float, in_line: int, kept_seconds: float) -> str:
    """What a visitor should know beforehand."""
    return (
        f'<p class="aside">A file of at most {escape(file_size)} and {seconds / 60:.0f} minutes. Recordings '
        f"are taken one after the other, and at most {in_line} wait; files are deleted after "
        f"{kept_seconds / 60:.0f} minutes.</p>"
    )


def waiting(count: int) -> str:
    """How long the queue is."""
    said = "Nobody is waiting." if count == 0 else f"{count} waiting in the queue."
    return f'<p class="aside">{said}</p>'


def segments(transcript: Transcript) -> str:
    """A table: times, words with the other hypotheses, score."""
    if not transcript.segments:
        return ""
    rows = "".join(_row(segment, transcript.media) for segment in transcript.segments)
    return (
        '<div class="table"><table id="segment-table"><caption>Segments</caption>'
        '<thead><tr><th scope="col">Seconds</th><th scope="col">Words</th>'
        f'<th scope="col" class="number"><abbr title="{SCORE_HELP}">Score</abbr></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(segment: Segment, media: Sequence[str]) -> str:
    words = _words(segment) or "<em>nothing</em>"
    if segment.speaker is not None:
        words = f"<strong>{escape(segment.speaker)}</strong> {words}"
    if tuple(segment.media) != tuple(media):
        words += f'<div class="aside">{escape(named(segment.media))} alone</div>'
    if not segment.hypotheses[0].finished:
        words += '<div class="aside">cut off: the model ran out of tokens</div>'
    return (
        f'<tr><td class="times">{segment.start_s:.2f}{EN_DASH}{segment.end_s:.2f}</td>'
        f"<td>{words}{_others(segment)}</td>"
        f'<td class="number">{_score(segment.score)}</td></tr>'
    )


def _words(segment: Segment) -> str:
    """With times and confidence to hover over, the doubtful shaded, where words have them."""
    if segment.words is None:
        return escape(segment.text)
    return " ".join(_word(word) for word in segment.words)


def _word(word: Word) -> str:
    title, shade = f"{word.start_s:.2f}{EN_DASH}{word.end_s:.2f} s", ""
    if word.confidence is not None:
        title += f", {100 * word.confidence:.0f} % sure"
        shade = f' style="--doubt:{100 * (1 - word.confidence):.0f}%"'
    return f'<span class="word" title="{title}"{shade}>{escape(word.text)}</span>'


def _others(segment: Segment) -> str:
    others = segment.hypotheses[1:]
    if not others:
        return ""
    items = "".join(
        f'<li>{escape(other.text)} <span class="aside">{_score(other.score)}</span></li>' for other in others
    )
    return f"<details><summary>{len(others)} more</summary><ul>{items}</ul></details>"


def times(transcript: Transcript) -> str:
    """Where the time went."""
    total = sum(transcript.seconds.values())
    stages = "".join(
        f"<tr><td>{STAGE_NAMES.get(stage, stage)}</td>"
        f'<td><div class="bar" style="width:{100 * seconds / total if total else 0:.1f}%"></div></td>'
        f'<td class="number">{seconds:.2f} s</td></tr>'
        for stage, seconds in transcript.seconds.items()
        if seconds
    )
    speed = f", {transcript.duration_s / total:.1f} {TIMES} real time" if total else ""
    return (
        f'<div class="table"><table id="stage-table"><caption>{transcript.duration_s:.1f} s of recording in '
        f"{total:.1f} s{speed}</caption><tbody>{stages}</tbody></table></div>"
    )


def heading(model: str, can: str) -> str:
    """model: a path or hub name, of which the last two parts are shown. can: "sound and lips"."""
    name = "/".join(PurePath(model).parts[-2:])
    return f"<h1>What is being said?</h1><p>Model: {escape(name)} ({escape(can)})</p>"


def minus(value: float, decimals: int) -> str:
    """A number with a true minus sign."""
    return f"{value:.{decimals}f}".replace("-", MINUS)


def _score(value: float) -> str:
    return minus(value, 3)
