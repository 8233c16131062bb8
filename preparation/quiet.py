"""Where a stretch of speech that is too long is cut: at its quietest place.

Letters: T frames of 25 per second.
"""

from __future__ import annotations

import numpy as np

Span = tuple[int, int]
"""First frame, and the one after the last."""


def cut_where_quiet(
    span: Span, activity: np.ndarray | None, longest: int, shortest_rest: int, window: int
) -> list[Span]:
    """Pieces of `span` of at most `longest` frames that lie end to end, none but the last shorter than half.

    activity: [T], loudness or motion of every frame of the recording; a cut is made before the frame around
    which the mean over `window` frames is least. Without it pieces are as long as they may be.
    shortest_rest: frames that are left over for the last piece, where there is room.
    """
    start, stop = span
    smoothed = None if activity is None else np.convolve(activity, np.ones(window) / window, mode="same")
    bounds = [start]
    while stop - bounds[-1] > longest:
        earliest = bounds[-1] + max(1, longest // 2)
        latest = max(earliest, min(bounds[-1] + longest, stop - shortest_rest))
        around = None if smoothed is None else smoothed[earliest : latest + 1]
        bounds.append(latest if around is None else earliest + int(np.argmin(around)))
    return list(zip(bounds, [*bounds[1:], stop], strict=True))
