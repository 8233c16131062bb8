"""One recording: whose mouth, from when to when, and its crops. Writes no file.

Letters: T video frames at 25 per second, H and W pixels of the picture as it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.batch import VIDEO_FPS
from datamodules.media.spool import FramesOnDisk, Spool
from preparation.faces import mouth, tracking, video
from preparation.faces.detectors import Detector, Face
from preparation.faces.finding import Finder
from preparation.faces.mouth import ImplausibleFaceError
from preparation.faces.options import ALL, CropOptions, NoMouthError, Speaker
from preparation.faces.tracking import Track
from preparation.faces.views import View

MIN_FRAMES = 12
"""Shorter clips are no use (auto-avsr's limit)."""
MIN_SEEN_SHARE = 0.3
"""Of a track's frames, in which its face was found; less is a detector's imagination."""

KEPT_BYTES = 128 * 2**20
"""Of decoded frames that are kept from finding faces to cutting: 30 s of 360x288, 4 s of 720p. A longer video
is decoded twice."""

Progress = Callable[[float], None]
"""Told the seconds of video that were dealt with since the last call. A video is gone through twice, to find
faces and to cut; each counts half."""


@dataclass(frozen=True, eq=False)
class MouthTrack:
    """One speaker's mouth without interruption; coordinates are pixels of the picture as it is shown."""

    frames: np.ndarray | FramesOnDisk
    """uint8 [T, 96, 96], grey at full range."""
    first: int
    """The video's frame, at 25 per second, that `frames[0]` comes from."""
    boxes: np.ndarray
    """float32 [T, 4], the face: left, top, right, bottom."""
    centres: np.ndarray
    """float32 [T, 2], the middle of the mouth: x, y."""
    corners: np.ndarray
    """float32 [T, 4, 2]: where the crop's corners lie, clockwise from its upper left one."""
    seen: np.ndarray
    """bool [T]: whether the face was found; elsewhere its place is interpolated."""
    picture_size: tuple[int, int]
    """W, H of the picture."""

    @property
    def start_s(self) -> float:
        return self.first / VIDEO_FPS

    @property
    def end_s(self) -> float:
        return (self.first + len(self.frames)) / VIDEO_FPS


@dataclass(frozen=True, eq=False)
class CropResult:
    """What came out of one video."""

    tracks: list[MouthTrack]
    """In order; no two share a frame, unless all speakers were asked for."""
    rejected: list[str]
    """Why parts of the video were left out."""
    num_frames: int
    """Of the video, at 25 per second."""
    num_faceless: int
    """Frames in which no face was found."""
    detecting_seconds: float = 0.0
    """Time that finding and following faces took."""


@dataclass
class _Survey:
    """What a first look at a video tells."""

    thumbnails: list[np.ndarray] = field(default_factory=list)
    faces: list[list[Face]] = field(default_factory=list)
    views: list[View] | None = field(default_factory=list)
    """All, unless they are too many to keep."""
    picture_size: tuple[int, int] = (0, 0)
    detecting_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class _Plan:
    """A track that will be cut out."""

    track: Track
    placements: list[mouth.Placement]
    boxes: np.ndarray
    centres: np.ndarray


def crop_video(path: Path, detector: Detector, *, speaker: Speaker = "largest") -> list[MouthTrack]:
    """The mouth clips of a video: one for each stretch between scene cuts and long losses of the face.

    Raises:
        NoMouthError: no face, or none that can be cropped.
        MediaError: the file is no video, or broken.
    """
    path = Path(path)
    result = cut_mouths(path, detector, CropOptions(speaker=speaker))
    if not result.tracks:
        raise NoMouthError(f"{path}: {'; '.join(result.rejected)}")
    return result.tracks


def cut_mouths(
    path: Path,
    detector: Detector,
    options: CropOptions,
    rel_path: Path | None = None,
    progress: Progress = lambda seconds: None,
    notes: list[str] | None = None,
) -> CropResult:
    """As `crop_video`, with everything that can be chosen, and with what was left out instead of an error.

    `rel_path` is the video's path below the folder that is worked through; landmark files are found by it.
    notes: as for `video.frame_chunks`.

    Raises:
        ValueError: the file is no video, or broken (MediaError), or its landmarks are.
    """
    detector.begin(path, rel_path or Path(path.name))
    survey = _survey(path, detector, options, progress, notes)
    detector.end()
    tracks, rejected = _tracks(survey, options)
    plans = []
    for track in tracks:
        try:
            plans.append(_plan(track))
        except ImplausibleFaceError as error:
            rejected.append(f"{_span(track.first, track.stop)}: {error}")
    return CropResult(
        tracks=_cut(path, plans, survey, progress),
        rejected=rejected,
        num_frames=len(survey.faces),
        num_faceless=sum(not faces for faces in survey.faces),
        detecting_seconds=survey.detecting_seconds,
    )


def _survey(
    path: Path, detector: Detector, options: CropOptions, progress: Progress, notes: list[str] | None
) -> _Survey:
    # In a recording one frame's nonsense must not cost all of it; auto-avsr would reject the clip.
    accepts = _is_anything if options.whole else _is_plausible
    # Whose mouth moves most shows only where every frame is looked at.
    finder = Finder(detector, options.detect_every, accepts, several=options.speaker != "talking")
    survey, kept_bytes = _Survey(), 0
    for view, faces in finder.found(video.views(path, notes)):
        if not survey.faces:
            survey.picture_size = view.rgb().shape[1::-1]
        survey.faces.append(faces)
        survey.thumbnails.append(view.thumbnail)
        if survey.views is not None:
            kept_bytes += 0 if survey.views and view is survey.views[-1] else view.nbytes
            if kept_bytes > KEPT_BYTES:
                survey.views = None
            else:
                survey.views.append(view)
        progress(1 / VIDEO_FPS / 2)
    survey.detecting_seconds = finder.seconds
    return survey


def _is_anything(face: Face) -> bool:
    return True


def _is_plausible(face: Face) -> bool:
    try:
        mouth.placed(face.points)
    except ImplausibleFaceError:
        return False
    return True


def _tracks(survey: _Survey, options: CropOptions) -> tuple[list[Track], list[str]]:
    """The tracks to cut, and why nothing came of the rest."""
    if options.whole:
        return _one_track(survey, options.speaker)
    tracks, rejected = [], []
    max_gap = options.max_gap_seconds * VIDEO_FPS
    for start, stop in tracking.shots(np.stack(survey.thumbnails)):
        try:
            tracks += _shot_tracks(survey, start, stop, max_gap, options.speaker)
        except NoMouthError as error:
            rejected.append(f"{_span(start, stop)}: {error}")
    return tracks, rejected


def _one_track(survey: _Survey, speaker: Speaker) -> tuple[list[Track], list[str]]:
    """The speaker over the whole video, lost for however long."""
    num_frames = len(survey.faces)
    found = tracking.choose(tracking.link(survey.faces, 0, math.inf), speaker)
    if num_frames < MIN_FRAMES or not found:
        return [], [
            f"{num_frames} frames, fewer than {MIN_FRAMES}" if found else _nobody(survey.faces, speaker)
        ]
    faces: list[Face | None] = [None] * num_frames
    for track in found:
        faces[track.first : track.stop] = track.faces
    return [Track(0, faces)], []


def _shot_tracks(survey: _Survey, start: int, stop: int, max_gap: float, speaker: Speaker) -> list[Track]:
    """The tracks to cut in one shot. Raises NoMouthError with the reason alone."""
    faces = survey.faces[start:stop]
    if stop - start < MIN_FRAMES:
        raise NoMouthError(f"a shot of {stop - start} frames, fewer than {MIN_FRAMES}")
    tracks = tracking.link(faces, start, max_gap)
    solid = [track for track in tracks if _is_solid(track)]
    if tracks and not solid:
        longest = max(len(track.seen) for track in tracks)
        raise NoMouthError(
            f"no face is seen for long enough: the steadiest one is seen in {longest} of "
            f"{stop - start} frames"
        )
    chosen = tracking.choose(solid, speaker)
    if not chosen:
        raise NoMouthError(_nobody(faces, speaker))
    if speaker == ALL:
        return [longer for track in chosen for longer in _extended([track], start, stop, max_gap)]
    return _extended(chosen, start, stop, max_gap)


def _nobody(faces: list[list[Face]], speaker: Speaker) -> str:
    return f"fewer than {speaker} faces" if any(faces) else "no face"


def _is_solid(track: Track) -> bool:
    return len(track.faces) >= MIN_FRAMES and len(track.seen) >= MIN_SEEN_SHARE * len(track.faces)


def _extended(tracks: list[Track], start: int, stop: int, max_gap: float) -> list[Track]:
    """With the frames before and after in which the face is lost, where they are few and nobody else's."""
    extended: list[Track] = []
    ends = [*(track.first for track in tracks[1:]), stop]
    for track, end in zip(tracks, ends, strict=True):
        begin = extended[-1].stop if extended else start
        limit = min(max_gap, len(track.seen))
        before, after = track.first - begin, end - track.stop
        before, after = (missing if missing <= limit else 0 for missing in (before, after))
        extended.append(Track(track.first - before, [None] * before + track.faces + [None] * after))
    return extended


def _span(start: int, stop: int) -> str:
    return f"{start / VIDEO_FPS:.2f}-{stop / VIDEO_FPS:.2f} s"


def _plan(track: Track) -> _Plan:
    landmarks = mouth.interpolated([None if face is None else face.points for face in track.faces])
    boxes = mouth.interpolated([None if face is None else face.box[None] for face in track.faces])
    return _Plan(
        track=track,
        placements=[mouth.placed(points) for points in mouth.smoothed(landmarks)],
        boxes=boxes[:, 0],
        centres=mouth.mouth_centre(landmarks),
    )


def _cut(path: Path, plans: list[_Plan], survey: _Survey, progress: Progress) -> list[MouthTrack]:
    """The tracks of all plans, in their order."""
    if not plans:
        return []
    lanes = _lanes(plans)
    # What the file is damaged by was told in the first round.
    views = video.views(path, []) if survey.views is None else survey.views
    for shown, view in enumerate(views):
        for lane in lanes:
            lane.show(shown, view)
        progress(1 / VIDEO_FPS / 2)
    cut = {plan: frames for lane in lanes for plan, frames in lane.frames()}
    return [_mouth_track(plan, cut[plan], survey.picture_size) for plan in plans]


class _Lane:
    """Plans, in order, that share no frame: their crops lie behind each other."""

    def __init__(self) -> None:
        self.plans: list[_Plan] = []
        self._crops = Spool()
        self._index = 0

    @property
    def stop(self) -> int:
        return self.plans[-1].track.stop if self.plans else 0

    def show(self, shown: int, view: View) -> None:
        """Cut from the video's next frame, if a plan has it."""
        while self._index < len(self.plans) and self.plans[self._index].track.stop <= shown:
            self._index += 1
        if self._index < len(self.plans) and self.plans[self._index].track.first <= shown:
            plan = self.plans[self._index]
            self._crops.add(view.cut(plan.placements[shown - plan.track.first])[None])

    def frames(self) -> Iterator[tuple[_Plan, np.ndarray | FramesOnDisk]]:
        start = 0
        for plan in self.plans:
            stop = start + len(plan.placements)
            yield plan, self._crops.frames(start, stop)
            start = stop


def _lanes(plans: Sequence[_Plan]) -> list[_Lane]:
    """As many as faces are seen at a time."""
    lanes: list[_Lane] = []
    for plan in sorted(plans, key=lambda plan: plan.track.first):
        lane = next((lane for lane in lanes if lane.stop <= plan.track.first), None)
        if lane is None:
            lane = _Lane()
            lanes.append(lane)
        lane.plans.append(plan)
    return lanes


def _mouth_track(plan: _Plan, frames: np.ndarray | FramesOnDisk, picture_size: tuple[int, int]) -> MouthTrack:
    return MouthTrack(
        frames=frames,
        first=plan.track.first,
        boxes=plan.boxes.astype(np.float32),
        centres=plan.centres.astype(np.float32),
        corners=np.stack([placement.corners() for placement in plan.placements]).astype(np.float32),
        seen=np.array([face is not None for face in plan.track.faces]),
        picture_size=picture_size,
    )
