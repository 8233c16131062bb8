"""The machine's camera and microphone, through ffmpeg's devices.

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, VIDEO_FPS
from llama_avsr.live.feed import Taken

OFF = "off"
MAX_WAITING_FRAMES = 250
"""Pictures that wait for a model that is late; older ones are let go."""
PATIENCE_SECONDS = 10.0
"""Without anything new, a device counts as gone."""


@dataclass(frozen=True)
class Kind:
    """How ffmpeg reaches a camera or a microphone on one system."""

    format: str
    default: str
    name: str = "{}"
    """What is opened for a device of that name."""


KINDS: dict[str, tuple[Kind, Kind]] = {
    "linux": (Kind("v4l2", "/dev/video0"), Kind("alsa", "default")),
    "darwin": (Kind("avfoundation", "0", "{}:none"), Kind("avfoundation", "0", "none:{}")),
    "win32": (Kind("dshow", "Integrated Camera", "video={}"), Kind("dshow", "Microphone", "audio={}")),
}
"""By `sys.platform`: camera, microphone."""


class Devices:
    """Records until it is closed.

    camera, microphone: names; "off" for none of it; None for the system's own choice.
    picture: whether one is wanted. Raises ValueError where there is neither.
    """

    def __init__(self, camera: str | None, microphone: str | None, picture: bool) -> None:
        if sys.platform not in KINDS:
            raise ValueError(
                f"--live: no camera or microphone is known for {sys.platform}: give a file to play"
            )
        kinds = KINDS[sys.platform]
        self._stop = threading.Event()
        self._error = ""
        self._lock = threading.Lock()
        self._sound: deque[np.ndarray] = deque()
        self._pictures: deque[tuple[float, av.VideoFrame]] = deque(maxlen=MAX_WAITING_FRAMES)
        self._last: av.VideoFrame | None = None
        self._converters: Any = None
        self._shown, self._start, self._newest = 0, time.monotonic(), time.monotonic()
        self.lacking: dict[str, str] = {}
        wanted = [("audio", microphone, kinds[1], self._hear)]
        wanted += [("video", camera, kinds[0], self._see)] if picture else []
        if not picture:
            self.lacking["video"] = "no camera is needed"
        for medium, name, kind, work in wanted:
            self._begin(medium, name, kind, work)
        if {"audio", "video"} <= self.lacking.keys():
            self.close()
            raise ValueError(
                f"--live found neither camera nor microphone (camera: {self.lacking['video']}; microphone: "
                f"{self.lacking['audio']}): plug one in, name it with --camera or --microphone, or give a "
                "file to play"
            )

    def _begin(
        self, medium: str, name: str | None, kind: Kind, work: Callable[[av.container.InputContainer], None]
    ) -> None:
        if name == OFF:
            self.lacking[medium] = "it was not wanted"
            return
        file = kind.name.format(name or kind.default)
        try:
            container = av.open(file, format=kind.format)
        except (av.FFmpegError, ValueError, OSError) as error:
            if name is not None:
                flag = "--camera" if medium == "video" else "--microphone"
                raise ValueError(f"{flag} {name} cannot be opened ({_reason(error)})") from None
            self.lacking[medium] = f"{kind.default} cannot be opened ({_reason(error)})"
            return
        threading.Thread(target=self._record, args=(container, work), daemon=True).start()

    def _record(
        self, container: av.container.InputContainer, work: Callable[[av.container.InputContainer], None]
    ) -> None:
        try:
            with container:
                work(container)
        except (av.FFmpegError, OSError) as error:
            self._error = _reason(error)

    def _hear(self, container: av.container.InputContainer) -> None:
        to_mono = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE_HZ)
        for frame in container.decode(audio=0):
            if self._stop.is_set():
                return
            for part in to_mono.resample(frame):
                with self._lock:
                    self._sound.append(part.to_ndarray()[0])

    def _see(self, container: av.container.InputContainer) -> None:
        for frame in container.decode(video=0):
            if self._stop.is_set():
                return
            with self._lock:
                self._pictures.append((time.monotonic() - self._start, frame))

    def take(self, now: float) -> Taken:
        with self._lock:
            sound = list(self._sound)
            self._sound.clear()
            pictures = self._due(now) if "video" not in self.lacking else []
        if sound or pictures:
            self._newest = time.monotonic()
        elif self._error or time.monotonic() - self._newest > PATIENCE_SECONDS:
            raise ValueError(f"--live: nothing comes from the device any more ({self._error or 'silent'})")
        return Taken(
            np.concatenate(sound) if sound else np.zeros(0, np.float32), [*map(self._view, pictures)]
        )

    def _due(self, now: float) -> list[av.VideoFrame]:
        """For every 1/25 s that has passed, the newest picture that had come by then."""
        found = []
        while (self._shown + 1) / VIDEO_FPS <= now:
            while self._pictures and self._pictures[0][0] <= (self._shown + 1) / VIDEO_FPS:
                self._last = self._pictures.popleft()[1]
            if self._last is None:
                if not self._pictures:
                    break
                self._last = self._pictures[0][1]
            found.append(self._last)
            self._shown += 1
        return found

    def _view(self, frame: av.VideoFrame) -> Any:
        from preparation.faces.views import Converters, View  # OpenCV comes with an extra

        self._converters = self._converters or Converters(None)
        return View(self._converters, frame)

    def close(self) -> None:
        self._stop.set()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
