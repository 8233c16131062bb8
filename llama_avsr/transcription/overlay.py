"""Videos that show what the model saw and wrote.

Letters: T frames of 25 per second, N samples of 16 kHz, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datamodules.batch import VIDEO_FPS
from datamodules.media.writing import SHOWN, write_video
from llama_avsr.transcription.mouths import Mouths
from llama_avsr.transcription.outputs import Cue, cues
from llama_avsr.transcription.people import Person
from llama_avsr.transcription.reading import contents
from llama_avsr.transcription.transcript import Transcript
from preparation.faces.readers import Track
from preparation.faces.video import frame_chunks

SMALLEST_SIDE = 360
"""Pixels; smaller pictures are enlarged, or the subtitles could not be read."""
FOUND, GUESSED = (64, 220, 96), (255, 160, 0)
"""Colours of the box where the face was found, and where its place is interpolated."""
OUTLINE = (0, 0, 0)
TEXT_SHARE = 1 / 16
"""Height of the letters, of the picture's shorter side."""


def write_pictures(
    transcript: Transcript,
    people: Sequence[Person],
    waveform: np.ndarray | None,
    mouth_video: Path | str | None,
    overlay: Path | str | None,
) -> Transcript:
    """Write the files that are asked for; the mouths of several people stand side by side.

    Returns the transcript, with a note where one cannot be made.
    """
    notes = []
    if mouth_video is not None:
        if not people:
            notes.append("no mouth video: no mouth was read")
        else:
            write_video(Path(mouth_video), _side_by_side(people), SHOWN, waveform)
    if overlay is not None:
        if not contents(transcript.path).picture:
            notes.append("no overlay: the file has no picture")
        else:
            _write_overlay(Path(overlay), transcript, people, waveform)
    return replace(transcript, notes=(*transcript.notes, *notes))


def _write_overlay(
    path: Path, transcript: Transcript, people: Sequence[Person], waveform: np.ndarray | None
) -> None:
    """The recording with the mouths' boxes and the words burnt in."""
    pictures = (frame for chunk in frame_chunks(transcript.path) for frame in chunk)
    write_video(path, _drawn(pictures, people, cues(transcript.segments)), SHOWN, waveform)


def _side_by_side(people: Sequence[Person]) -> Iterator[np.ndarray]:
    for pictures in zip(*(_mouth_frames(person.mouths) for person in people), strict=True):
        yield np.concatenate(pictures, axis=1)


def _mouth_frames(mouths: Mouths) -> Iterator[np.ndarray]:
    """The crops on the recording's time axis, black where there is none."""
    height, width = mouths.tracks[0].frames.shape[1:]
    black = np.zeros((height, width), dtype=np.uint8)
    shown = 0
    for track in mouths.tracks:
        for _ in range(shown, track.first):
            yield black
        yield from track.frames
        shown = track.first + len(track.frames)
    for _ in range(shown, mouths.num_frames):
        yield black


def _drawn(
    pictures: Iterable[np.ndarray], people: Sequence[Person], subtitles: Sequence[Cue]
) -> Iterator[np.ndarray]:
    """The pictures, uint8 [H, W, 3], with boxes and subtitles."""
    everybody = [_Places(person.mouths.tracks) for person in people]
    for t, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        scale = max(1, -(-SMALLEST_SIDE // min(image.size)))
        if scale > 1:
            image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for track, index in filter(None, [places.at(t) for places in everybody]):
            corners = [tuple(corner) for corner in (track.corners[index] * scale).tolist()]
            colour = FOUND if track.seen[index] else GUESSED
            draw.polygon(corners, outline=colour, width=max(2, min(image.size) // 200))
        middle = (t + 0.5) / VIDEO_FPS
        lines = [line for cue in subtitles if cue.start_s <= middle < cue.end_s for line in cue.shown]
        if lines:
            _write(draw, "\n".join(lines), image.size)
        yield np.asarray(image)


class _Places:
    """Which track shows a frame; asked in order."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = list(tracks)

    def at(self, t: int) -> tuple[Track, int] | None:
        while self._tracks and t >= self._tracks[0].first + len(self._tracks[0].frames):
            self._tracks.pop(0)
        if not self._tracks or t < self._tracks[0].first:
            return None
        return self._tracks[0], t - self._tracks[0].first


def _write(draw: ImageDraw.ImageDraw, text: str, size: tuple[int, int]) -> None:
    """Centred at the bottom, no wider than the picture."""
    width, height = size
    letters = max(10, round(min(size) * TEXT_SHARE))
    font = _font(letters)
    box = draw.multiline_textbbox((0, 0), text, font=font)
    if box[2] > 0.94 * width:
        font = _font(max(8, int(letters * 0.94 * width / box[2])))
    draw.multiline_text(
        (width / 2, height * 0.96),
        text,
        font=font,
        anchor="md",
        align="center",
        fill=(255, 255, 255),
        stroke_width=max(1, letters // 10),
        stroke_fill=OUTLINE,
    )


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu, which matplotlib brings along: it has the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
