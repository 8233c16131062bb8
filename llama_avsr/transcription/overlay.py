"""Videos that show what the model saw and wrote.

Letters: T frames of 25 per second, N samples of 16 kHz, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.files import whole_or_nothing
from llama_avsr.transcription.mouths import Mouths, Track
from llama_avsr.transcription.outputs import Cue, cues
from llama_avsr.transcription.reading import contents
from llama_avsr.transcription.transcript import Transcript

CRF = 20
"""x264's constant rate factor: lower is better and larger."""
SMALLEST_SIDE = 360
"""Pixels; smaller pictures are enlarged, or the subtitles could not be read."""
FOUND, GUESSED = (64, 220, 96), (255, 160, 0)
"""Colours of the box where the face was found, and where its place is interpolated."""
OUTLINE = (0, 0, 0)
TEXT_SHARE = 1 / 16
"""Height of the letters, of the picture's shorter side."""


def write_pictures(
    transcript: Transcript,
    mouths: Mouths | None,
    waveform: np.ndarray | None,
    mouth_video: Path | str | None,
    overlay: Path | str | None,
) -> Transcript:
    """Write the files that are asked for. Returns the transcript, with a note where one cannot be made."""
    notes = []
    if mouth_video is not None:
        if mouths is None:
            notes.append("no mouth video: no mouth was read")
        else:
            write_video(Path(mouth_video), _mouth_frames(mouths), waveform)
    if overlay is not None:
        if not contents(transcript.path).picture:
            notes.append("no overlay: the file has no picture")
        else:
            _write_overlay(Path(overlay), transcript, mouths, waveform)
    return replace(transcript, notes=(*transcript.notes, *notes))


def _write_overlay(
    path: Path, transcript: Transcript, mouths: Mouths | None, waveform: np.ndarray | None
) -> None:
    """The recording with the mouth's box and the words burnt in."""
    from preparation.faces.video import frame_chunks

    pictures = (frame for chunk in frame_chunks(transcript.path) for frame in chunk)
    write_video(path, _drawn(pictures, mouths, cues(transcript.segments)), waveform)


def write_video(path: Path, frames: Iterable[np.ndarray], waveform: np.ndarray | None) -> None:
    """H.264 and AAC in mp4. frames: uint8 [H, W] or [H, W, 3]; an odd row or column is left out."""
    frames = iter(frames)
    first = next(frames)
    height, width = (side - side % 2 for side in first.shape[:2])
    with whole_or_nothing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=VIDEO_FPS, options={"crf": str(CRF)})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound = None if waveform is None else _SoundTrack(container, waveform)
        for t, frame in enumerate(_again(first, frames)):
            kind = "gray" if frame.ndim == 2 else "rgb24"
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format=kind)
            container.mux(picture.encode(image))
            if sound is not None:
                sound.write((t + 1) * SAMPLES_PER_VIDEO_FRAME)
        container.mux(picture.encode())
        if sound is not None:
            sound.end()


class _SoundTrack:
    """Sound that is written along with the picture, so that players find both in one place."""

    def __init__(self, container: av.container.OutputContainer, waveform: np.ndarray) -> None:
        self._container = container
        self._stream = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        self._fifo = av.AudioFifo()
        self._waveform = waveform
        self._written = 0

    def write(self, until: int) -> None:
        """The samples before `until`."""
        samples = self._waveform[self._written : until]
        if len(samples):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None], dtype=np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, self._written
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            self._fifo.write(frame)
            self._written += len(samples)
        self._encode(partial=False)

    def end(self) -> None:
        self._encode(partial=True)
        self._container.mux(self._stream.encode(None))

    def _encode(self, partial: bool) -> None:
        for frame in self._fifo.read_many(1024, partial=partial):
            self._container.mux(self._stream.encode(frame))


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
    pictures: Iterable[np.ndarray], mouths: Mouths | None, subtitles: Sequence[Cue]
) -> Iterator[np.ndarray]:
    """The pictures, uint8 [H, W, 3], with boxes and subtitles."""
    places = _Places(() if mouths is None else mouths.tracks)
    for t, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        scale = max(1, -(-SMALLEST_SIDE // min(image.size)))
        if scale > 1:
            image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        place = places.at(t)
        if place is not None:
            track, index = place
            corners = [tuple(corner) for corner in (track.corners[index] * scale).tolist()]
            colour = FOUND if track.seen[index] else GUESSED
            draw.polygon(corners, outline=colour, width=max(2, min(image.size) // 200))
        middle = (t + 0.5) / VIDEO_FPS
        for cue in subtitles:
            if cue.start_s <= middle < cue.end_s:
                _write(draw, "\n".join(cue.lines), image.size)
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


def _again(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
