"""`transcribe.py --live`: words on the terminal while they are spoken."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TextIO

from datamodules.files import write_whole
from llama_avsr.live import log
from llama_avsr.live.clock import RealClock, SimulatedClock
from llama_avsr.live.devices import Devices
from llama_avsr.live.feed import Source
from llama_avsr.live.playing import FilePlayer
from llama_avsr.live.running import Moment, run
from llama_avsr.live.starting import Pace, feed_of, live_of, wants_picture
from llama_avsr.live.state import LiveWord
from llama_avsr.options import Options
from llama_avsr.transcription.loading import load_transcriber
from llama_avsr.transcription.modality import NO_PICTURE, named
from llama_avsr.transcription.pipeline import Transcriber

LOGGER = logging.getLogger(__name__)
DIM, PLAIN, CLEAR_LINE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def caption(options: Options, explicit: Collection[str]) -> int:
    """Write down what is said until the file ends, or Ctrl-C. Returns the exit code.

    Raises ValueError where there is nothing to listen to.
    """
    transcriber = load_transcriber(options, explicit)
    source, lacking = _source(options, transcriber)
    feed, reason = feed_of(transcriber, lacking)
    LOGGER.info("used: %s", reason or named(transcriber.trained.media))
    clock = SimulatedClock() if options.captions.live_clock == "simulated" else RealClock()
    live = live_of(transcriber, Pace.of(options.captions), clock.now)
    screen, words, passes, seconds = Screen(sys.stdout), [], 0, 0.0
    with _stopped_by_signals() as stopped:
        for moment in run(live, source, feed, clock, stopped):
            screen.show(moment)
            words += moment.update.fixed
            passes, seconds = passes + moment.update.passes, moment.seconds
    screen.end()
    _tell(options, words, seconds, passes)
    return 0


def _source(options: Options, transcriber: Transcriber) -> tuple[Source, dict[str, str]]:
    """And what it lacks, with the reasons."""
    settings, lacking = transcriber.settings, {}
    picture = wants_picture(settings, transcriber.trained.media)
    if not options.transcribing.videos:
        devices = Devices(options.captions.camera, options.captions.microphone, picture)
        return devices, devices.lacking
    (path,) = options.transcribing.videos
    player = FilePlayer(path, picture, settings.already_cropped, settings.audio_track)
    if not player.has_sound:
        lacking["audio"] = player.why_silent
    if not player.has_picture:
        lacking["video"] = NO_PICTURE
    return player, lacking


class Screen:
    """Fixed words stay; what may change is shown behind them, dimmed, where the output is a terminal."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._is_terminal = file, file.isatty()
        self._line: list[str] = []
        self._partial = ""

    def show(self, moment: Moment) -> None:
        update = moment.update
        self._line += [word.text for word in update.fixed]
        if update.partial is not None:
            self._partial = update.partial
        if update.closed:
            self._partial = ""
        if self._is_terminal:
            self._redraw(update.closed)
        elif update.closed and self._line:
            print(" ".join(self._line), file=self._file, flush=True)
        if update.closed:
            self._line = []

    def end(self) -> None:
        if self._is_terminal or self._line:
            print(" ".join([] if self._is_terminal else self._line), file=self._file, flush=True)

    def _redraw(self, closed: bool) -> None:
        partial = f" {DIM}{self._partial}{PLAIN}" if self._partial else ""
        ending = "\n" if closed and self._line else ""
        self._file.write(f"{CLEAR_LINE}{' '.join(self._line)}{partial}{ending}")
        self._file.flush()


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C or SIGTERM came: what is open is then fixed, the log written."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _: came.append(which))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(options: Options, words: list[LiveWord], seconds: float, passes: int) -> None:
    summary = log.summary(words, seconds, passes)
    if options.captions.live_log is not None:
        lines = [*map(log.line, words), summary]
        write_whole(options.captions.live_log, "".join(f"{line}\n" for line in lines))
    LOGGER.info("%s", summary)
