"""The work of `transcribe.py`: many files, one model."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from tqdm import tqdm

from llama_avsr.faults import explain
from llama_avsr.options import Options
from llama_avsr.transcription import outputs
from llama_avsr.transcription.loading import load_transcriber
from llama_avsr.transcription.pipeline import Transcriber
from llama_avsr.transcription.transcript import Transcript

LOGGER = logging.getLogger(__name__)
BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}]"
FAILED = 1
"""Exit code where some recording could not be transcribed."""


def run(options: Options, explicit: Collection[str]) -> int:
    """Transcribe; print the words, write the files that are asked for. Returns the exit code.

    A file that cannot be transcribed is reported, and the next one is taken.
    Raises ValueError where nothing can be done at all.
    """
    paths = expanded(options.transcribing.videos)
    chosen = options.transcribing
    if options.run.output_dir is not None or chosen.save_mouth_video or chosen.save_overlay:
        check_names(paths)
    folder = options.run.output_dir
    if folder is not None and any(part.exists() and not part.is_dir() for part in (folder, *folder.parents)):
        raise ValueError(
            f"--output-dir {folder}: found a file there; expected a folder, or a new name for one"
        )
    transcriber = load_transcriber(options, explicit)
    done: list[Transcript] = []
    for path in paths:
        try:
            transcript = _transcribe(transcriber, path, options)
        except Exception as error:  # whatever a library made of it: the others have nothing to do with it
            LOGGER.error("%s", _with_name(path, error), exc_info=LOGGER.isEnabledFor(logging.DEBUG))
            continue
        done.append(transcript)
        if len(paths) > 1:
            print(f"== {path}")
        print(outputs.for_screen(transcript), flush=True)
        for remark in outputs.remarks(transcript):
            LOGGER.info("%s: %s", path.name, remark)
    _report(done, len(paths))
    return 0 if len(done) == len(paths) else FAILED


def expanded(videos: Sequence[Path]) -> list[Path]:
    """The files that are meant, each once; of a folder, the videos and sound files in it and below.

    Raises ValueError for a folder without any.
    """
    from preparation.faces.sources import recordings_below

    paths: list[Path] = []
    for video in videos:
        found = recordings_below(video) if video.is_dir() else [video]
        if not found:
            raise ValueError(f"found no video and no sound file in {video}")
        paths += found
    return list(dict.fromkeys(paths))


def check_names(paths: Sequence[Path]) -> None:
    """Raises ValueError for two files whose transcripts would have one name."""
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(path.stem, path)
        if other != path:
            raise ValueError(
                f"{path} and {other} would both be written as {path.stem}; rename one, or take turns"
            )


def _transcribe(transcriber: Transcriber, path: Path, options: Options) -> Transcript:
    chosen, folder = options.transcribing, options.run.output_dir
    shown = folder or Path()
    transcript = transcriber.transcribe(
        path,
        mouth_video=shown / f"{path.stem}.mouth.mp4" if chosen.save_mouth_video else None,
        overlay=shown / f"{path.stem}.overlay.mp4" if chosen.save_overlay else None,
        progress=_Bar(path.name),
    )
    if folder is not None:
        outputs.save(transcript, folder, chosen.format, chosen.word_times)
    return transcript


class _Bar:
    """Shows on a terminal how far a recording is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stage = ""
        self._bar: tqdm | None = None

    def __call__(self, stage: str, done: float, total: float) -> None:
        if stage != self._stage:
            self._stage = stage
            unit = "s" if stage == "faces" else "segment"
            self._bar = tqdm(
                total=round(total, 1) or None,
                desc=f"{self._name} {stage}",
                unit=unit,
                leave=False,
                disable=None,
                bar_format=BAR if total else None,
            )
        self._bar.update(done)
        if total and self._bar.n >= total:
            self._bar.close()


def _with_name(path: Path, error: Exception) -> str:
    fault = explain(error)
    text = fault.text if fault.is_users else f"internal error, --debug shows where: {fault.text}"
    return text if str(path) in text else f"{path}: {text}"


def _report(done: Sequence[Transcript], total: int) -> None:
    """Where the time went; on standard error, so that standard output has the words alone."""
    if done:
        print(f"\nseconds by stage\n{outputs.stage_table(done)}", file=sys.stderr)
    if len(done) < total:
        print(f"{total - len(done)} of {total} could not be transcribed, see above", file=sys.stderr)
