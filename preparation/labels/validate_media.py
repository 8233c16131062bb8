"""What is wrong with the media of one clip. Runs in the worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.batch import Utterance
from datamodules.media import MediaError, load_audio, load_video
from datamodules.media.headers import frames_problem, read_header, sound_problem
from datamodules.media.pictures import MAX_SIDE, MIN_SIDE
from datamodules.media.sound import level_db

UNREADABLE = "unreadable media"
OTHER_LENGTH = "length differs from the label"
NOT_A_MOUTH = "not a mouth crop"
SILENT = "silent sound"


@dataclass(frozen=True)
class MediaChecks:
    """What is looked at.

    media: of "audio" and "video". deep: decode every frame, instead of reading headers. silence_db: root mean
    square, relative to full scale, below which sound counts as silent.
    """

    media: tuple[str, ...] = ("audio", "video")
    deep: bool = False
    silence_db: float = -60.0


def check_clip(utterance: Utterance, checks: MediaChecks) -> list[tuple[str, str]]:
    """(kind, detail) of each problem. Sound is always decoded, video where `deep` says so."""
    problems = []
    if "video" in checks.media:
        problems += _problems_of_video(utterance, checks.deep)
    if "audio" in checks.media:
        problems += _problems_of_audio(utterance, checks.silence_db)
    return problems


def _problems_of_video(utterance: Utterance, deep: bool) -> list[tuple[str, str]]:
    path = utterance.video_path
    try:
        header = read_header(path)
        if min(header.width, header.height) < MIN_SIDE or max(header.width, header.height) > MAX_SIDE:
            detail = (
                f"{path}: {header.width}x{header.height} pixels, expected {MIN_SIDE} to {MAX_SIDE} a side"
            )
            return [(NOT_A_MOUTH, detail)]
        found = len(load_video(path)) if deep else header.num_frames
    except MediaError as error:
        return [(UNREADABLE, str(error))]
    problem = frames_problem(utterance, found)
    return [(OTHER_LENGTH, problem)] if problem else []


def _problems_of_audio(utterance: Utterance, silence_db: float) -> list[tuple[str, str]]:
    path = utterance.audio_path if utterance.audio_path.exists() else utterance.video_path
    try:
        waveform = load_audio(path, strict=True)
    except MediaError as error:
        return [(UNREADABLE, str(error))]
    problems = []
    if problem := sound_problem(utterance, len(waveform), path):
        problems.append((OTHER_LENGTH, problem))
    level = level_db(waveform.numpy())
    if level < silence_db:
        problems.append((SILENT, f"{path}: {level:.0f} dB, expected {silence_db:g} or more"))
    return problems
